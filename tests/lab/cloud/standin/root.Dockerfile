# What the stand-ins stand on: of the lab's base only what a gateway's image is called for (a shell,
# the small tools, tini, and what node is linked with). Each machine of a test pulls and unpacks
# this, and what a machine does is most of what a test waits for.
ARG BASE
FROM $BASE AS base
RUN groupadd --gid 1000 node \
 && useradd --uid 1000 --gid node --shell /bin/bash --create-home node \
 && install -d -o node -g node -m 0755 \
      /home/node/.cache /home/node/.config /home/node/.config/openclaw \
      /home/node/openclaw /home/node/openclaw/workspace \
 && install -d -o node -g node -m 0700 /home/node/.openclaw \
 && install -d -o node -g node /app
RUN dpkg --listfiles base-files bash coreutils dash findutils grep gzip hostname libacl1 \
      libattr1 libc6 libgcc-s1 libpcre2-8-0 libselinux1 libstdc++6 libtinfo6 sed tar tini zlib1g \
    | sort --unique >/listed \
 && while read -r path; do \
      if [ -f "$path" ] || [ -L "$path" ]; then echo "$path"; fi; \
    done </listed | grep --extended-regexp --invert-match '^/usr/share/|/gconv/' >/wanted \
 && mkdir -p /root-of-it/usr/bin /root-of-it/usr/sbin /root-of-it/usr/lib /root-of-it/usr/lib64 \
 && tar --create --file /wanted.tar --files-from /wanted \
      /etc/passwd /etc/group /home /app /tmp /var/tmp \
 && tar --extract --preserve-permissions --file /wanted.tar --directory /root-of-it

FROM scratch
COPY --from=base /root-of-it/ /
CMD ["bash"]
