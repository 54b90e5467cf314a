"""The simulated broker: Kite's REST API and websocket over a simulated market, with faults.

Belongs here: what the real broker's servers do, as its official client sees it. Does not belong
here: the market (`optrade.simulation`), anything that talks to a broker (`resources.kite`).
"""
