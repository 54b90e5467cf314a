"""The code location: definitions, jobs, schedules, sensors, and the `optrade` command.

Belongs here: what Dagster loads and what a person types. Does not belong here: assets (see
`assets`) and adapters (see `resources`).
"""
