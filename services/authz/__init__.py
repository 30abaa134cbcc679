"""authz answers whether this User, acting through this Member of this Space, may do this action on this resource.

It promises that every answer is explained and that its event is durable before the answer leaves (guarantee 1), and that
recorded events reach audit exactly once in effect (guarantee 2). Open `engine.py` for the rules, `routes/check.py` for the
path of one question, `outbox.py` for how it is recorded.
"""
