async def test_first(authz):
    print((await authz.explain()).text)
    print((await authz.check()).text)
    await authz.become_ready()
    print((await authz.client.get("/api/v1/ready")).text)
    print(authz.outbox())
