"""Hands requests on to a service, as the proxy of a controller does.

Owns one port, which it prints when it listens there: `proxy ADDRESS SERVICE PORT`. What is on its
standard input is the certificate that TLS ends with, and its key; nothing is plain HTTP. A service
sees by whom and for whom a request comes, as real ones say it. Refuses a second request on a
connection, and to look into a WebSocket.
"""

import asyncio
import ssl
import sys
import tempfile

CHUNK = 1 << 16
# How long a service may take to take a connection.
WITHIN_S = 2
UNREACHED = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def main(address: str, service: str, port: str) -> None:
    """Until it is ended."""
    context = ends_tls(sys.stdin.read())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            there = asyncio.open_connection(service, int(port))
            try:
                inner_reader, inner_writer = await asyncio.wait_for(there, WITHIN_S)
            except (OSError, TimeoutError):
                writer.write(UNREACHED)
                await writer.drain()
                writer.close()
                return
            client = writer.get_extra_info("peername")[0]
            inner_writer.write(forwarded(head.decode("latin-1"), client, context).encode("latin-1"))
            await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # Whoever came went.
            writer.close()

    server = await asyncio.start_server(serve, address, 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def ends_tls(pem: str) -> ssl.SSLContext | None:
    """What TLS ends with."""
    if not pem:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def forwarded(head: str, client: str, context: ssl.SSLContext | None) -> str:
    """A request's head with what a proxy says of it, in the place of what the client said."""
    first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    named = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
    own = [
        f"X-Forwarded-For: {client}",
        f"X-Forwarded-Host: {named.get('host', '')}",
        f"X-Forwarded-Proto: {'https' if context else 'http'}",
        f"X-Real-IP: {client}",
    ]
    said = ("x-forwarded-", "x-real-ip", "forwarded:")
    kept = [line for line in lines if not line.lower().startswith(said)]
    if "upgrade" not in named:
        kept = [line for line in kept if not line.lower().startswith("connection:")]
        own.append("Connection: close")
    return "\r\n".join([first, *kept, *own, "", ""])


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hands on what comes until it ends."""
    try:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    finally:
        writer.close()


asyncio.run(main(*sys.argv[1:]))
