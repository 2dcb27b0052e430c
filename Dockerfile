# The pipeline server as an image: the static program, the authorities that TLS trusts, and nothing
# else: no shell, no user but a number. (assets/image/Dockerfile is another one: it makes gateways.)
#
#   docker build --tag openclaw-pipeline .
#   docker run --rm openclaw-pipeline --help
#
# `docker compose up -d pipeline-server` runs it hardened; docker-compose.yml says how.
#
# BUILD is any image with Rust 1.90 or newer, a C compiler and the authorities; name it by digest
# where builds have to be the same. RUNTIME is what the program stands on: nothing, unless what it
# calls is wanted beside it (docker:cli has the docker command, for the docker target).
ARG BUILD=rust:1.95-slim-bookworm
ARG RUNTIME=scratch

FROM ${BUILD} AS build
WORKDIR /src
# Static, because RUNTIME may have no C library, or another one. The target is named so that this
# is not asked of the build scripts, too.
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN rustc -vV | sed -n 's/^host: //p' >/target
# The crates in a layer of their own, which only another lockfile makes anew.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src && touch src/lib.rs && echo 'fn main() {}' >src/main.rs \
 && cargo build --release --locked --bins --target "$(cat /target)"
COPY . .
# What was built of the empty files is newer than the real ones.
RUN touch src/lib.rs src/main.rs \
 && cargo build --release --locked --bins --target "$(cat /target)" \
 && install -D "target/$(cat /target)/release/openclaw-pipeline" /image/bin/openclaw-pipeline \
 && cargo clean --quiet --locked --release --target "$(cat /target)" --package openclaw-pipeline \
 && install -d -m 0700 /image/own/data /image/own/key && install -d -m 1777 /image/own/tmp

FROM ${RUNTIME}
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /image/bin/ /usr/local/bin/
# A new volume takes owner and mode over from the directory that it is mounted on.
COPY --from=build --chown=65532:65532 /image/own/ /

# The key lies apart from what it seals. A container's own loopback is of no use to anybody.
ENV OPENCLAW_PIPELINE_HOME=/data \
    OPENCLAW_PIPELINE_KEY_FILE=/key/sealing.key \
    OPENCLAW_PIPELINE_BIND=0.0.0.0
LABEL org.opencontainers.image.title="OpenClaw Pipeline" \
      org.opencontainers.image.licenses="MIT"

USER 65532:65532
WORKDIR /data
VOLUME ["/data", "/key"]
EXPOSE 4000
ENTRYPOINT ["/usr/local/bin/openclaw-pipeline"]
CMD ["serve"]
