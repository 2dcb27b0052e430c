# The stand-in for cloudflared as an image: on a root with a C library, because it is no static
# program; like the real one it has nobody's rights and no shell is needed.
ARG BASE
FROM $BASE
COPY standin-gateway /usr/local/bin/cloudflared
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/cloudflared"]
