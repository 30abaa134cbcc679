"""What both services and the operator's tool stand on: settings, problems, credentials, the event contract, the web edge.

`shared` imports no service. Open `envelope.py` first: it is the one contract that joins authz and audit.
"""
