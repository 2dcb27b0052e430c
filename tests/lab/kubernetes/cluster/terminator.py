"""Ends TLS before a service, as whatever has a host's certificate does.

Owns one port, which it prints when it listens there: `terminator ADDRESS SERVICE PORT`, with the
certificate and its key on its standard input. Refuses to look at what it hands on.
"""

import asyncio
import ssl
import sys
import tempfile

CHUNK = 1 << 16


async def main(address: str, service: str, port: str) -> None:
    """Until it is ended."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(sys.stdin.read())
        file.flush()
        context.load_cert_chain(file.name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection(service, int(port))
            await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))
        except OSError:
            # Nobody is there, or whoever came went.
            writer.close()

    server = await asyncio.start_server(serve, address, 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hands on what comes until it ends."""
    try:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    finally:
        writer.close()


asyncio.run(main(*sys.argv[1:]))
