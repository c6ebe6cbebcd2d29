"""The machine-readable documents, and a page that shows one of them."""

from api.http import Answer, Request


class Documents:
    """Served without a token: they hold nothing of any workspace."""

    async def openapi(self, _request: Request) -> Answer:
        return Answer(200, [], b"{}", "application/json")

    async def asyncapi(self, _request: Request) -> Answer:
        return Answer(200, [], b"{}", "application/json")

    async def docs(self, _request: Request) -> Answer:
        return Answer(200, [], b"", "text/html; charset=utf-8")
