"""The HTTP edge that both services share: request ids, strict bodies, problems, permissions, metrics, OpenAPI.

Open `edge.py` first: every request passes it. `litestar_app.py` makes the Litestar application behind it.
"""
