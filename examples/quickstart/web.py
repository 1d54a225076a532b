# SPDX-License-Identifier: Apache-2.0
"""A web server that says who it is and who asks: web.py NAME PORT. IPv4 and IPv6."""
import http.server
import socket
import sys


class Answer(http.server.BaseHTTPRequestHandler):
    """One line: "vm1 answers 203.0.113.254"."""

    def do_GET(self):
        client = self.client_address[0].removeprefix("::ffff:")
        text = f"{sys.argv[1]} answers {client}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        """Nothing: the log is for what goes wrong."""


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


Server(("::", int(sys.argv[2])), Answer).serve_forever()
