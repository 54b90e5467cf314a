"""The broker as a client meets it: session, login, requests.

Belongs here: everything that talks to Kite's REST API, real or simulated. Does not belong here:
the websocket (`resources.collector`), the simulated broker itself (`resources.kite_exchange`).
"""
