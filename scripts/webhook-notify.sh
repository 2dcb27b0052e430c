#!/bin/sh
# Tells the pipeline server what happens: webhook-notify.sh TYPE MESSAGE [NAME]
#
# Posts to $WEBHOOK_URL/webhook/event (http://localhost:4000 unless set), about the deployment NAME
# (main unless given), with the token in OPENCLAW_PIPELINE_EVENTS_TOKEN. Works where there is
# nothing but sh and curl. It always exits with 0, and curl gives up after ten seconds: telling must
# never stop what it tells of. What could not be delivered it says on standard error.
#
# The token reaches curl by standard input: others on the machine can read arguments. A shell that
# was told to trace would print it.
{ set +x; } 2>/dev/null

say() { printf '%s\n' "webhook-notify: $*" >&2; }

token=${OPENCLAW_PIPELINE_EVENTS_TOKEN:-}
unset OPENCLAW_PIPELINE_EVENTS_TOKEN
url=${WEBHOOK_URL:-http://localhost:4000}
url=${url%/}

case $# in
  2 | 3) ;;
  *)
    say 'usage: webhook-notify.sh TYPE MESSAGE [NAME]'
    exit 0
    ;;
esac

# Bytes, whatever the language: what follows reads UTF-8 by itself.
LC_ALL=C
export LC_ALL
controls=$(printf '\001\002\003\004\005\006\007\010\011\012\013\014\015\016\017\020\021\022\023\024\025\026\027\030\031\032\033\034\035\036\037')
high=$(printf '\200-\377')
# What is quoted has a bound, because quoting takes a step for each character that is not plain. A
# step looks at so many bytes as there are in a window: a shell takes the square of it.
bound=4096
window='????????????????????????????????????????????????????????????????'
c=$(printf '[\200-\277]')
two=$(printf '[\302-\337]')$c
# Neither longer than needed, nor a surrogate, nor past the last character.
three_a=$(printf '\340[\240-\277]')$c
three_b=$(printf '[\341-\354\356\357]')$c$c
three_c=$(printf '\355[\200-\237]')$c
four_a=$(printf '\360[\220-\277]')$c$c
four_b=$(printf '[\361-\363]')$c$c$c
four_c=$(printf '\364[\200-\217]')$c$c

# take AFTER: moves the next character, up to where the rest goes on, to what is done.
take() {
  escaped=$escaped${rest%"$1"}
  rest=$1
}

# put TEXT: puts a text in the place of the next byte.
put() {
  escaped=$escaped$1
  rest=${rest#?}
}

# refill: moves the next bytes into the rest.
refill() {
  next=$(printf "%.${#window}sx" "$left")
  rest=$rest${next%x}
  if [ ${#left} -gt ${#window} ]; then
    # shellcheck disable=SC2295 # this one is a pattern
    left=${left#$window}
  else
    left=
  fi
}

# escape TEXT: the inside of a JSON string, as $escaped. A byte that is no UTF-8 becomes U+FFFD.
escape() {
  left=$1
  rest=
  escaped=
  while :; do
    # A character has up to four.
    [ ${#rest} -gt 3 ] || [ -z "$left" ] || refill
    # shellcheck disable=SC2295 # this one is a range
    plain=${rest%%[\"\\"$controls"$high]*}
    escaped=$escaped$plain
    rest=${rest#"$plain"}
    # shellcheck disable=SC2254 # these are patterns
    case $rest in
      '') [ -n "$left" ] || return 0 ;;
      \"*) put '\"' ;;
      \\*) put "\\\\" ;;
      ["$controls"]*) put "$(printf '\\u%04x' "'${rest%"${rest#?}"}")" ;;
      $two*) take "${rest#??}" ;;
      $three_a* | $three_b* | $three_c*) take "${rest#???}" ;;
      $four_a* | $four_b* | $four_c*) take "${rest#????}" ;;
      *) put '\ufffd' ;;
    esac
  done
}

# part TEXT: the same of as much of it as the bound allows.
part() {
  if [ ${#1} -gt "$bound" ]; then
    escape "$(printf "%.${bound}s" "$1")"
  else
    escape "$1"
  fi
}

part "$1"
event="{\"type\":\"$escaped\""
part "$2"
event="$event,\"message\":\"$escaped\""
if [ $# -eq 3 ]; then
  part "$3"
  event="$event,\"name\":\"$escaped\""
fi
# curl's configuration quotes what is left of special characters once more.
event=$(
  controls='' high=''
  escape "$event}"
  printf '%s' "$escaped"
)

case $url in
  *[!!-~]* | *[\"\\]* | '')
    say 'not delivered: WEBHOOK_URL is no URL'
    exit 0
    ;;
esac
case $token in
  *[!!-~]* | *[\"\\]*)
    say 'not delivered: OPENCLAW_PIPELINE_EVENTS_TOKEN holds what no token holds'
    exit 0
    ;;
esac
bearer=${token:+"header = \"Authorization: Bearer $token\""}
# What goes to this machine goes past any proxy.
direct=
case $url in
  http://localhost | http://localhost[:/]* | http://127.0.0.1 | http://127.0.0.1[:/]*)
    direct='noproxy = "*"'
    ;;
esac

# Without the user's .curlrc (it may say "verbose"), and without following a redirect: the token is
# for this server. The last line of the answer is its status.
answer=$(
  curl --disable --config - <<END
silent
show-error
proto = "=http,https"
connect-timeout = 5
max-time = 10
max-filesize = 65536
$direct
url = "$url/webhook/event"
header = "Content-Type: application/json"
$bearer
data-binary = "$event"
write-out = "\\n%{http_code}"
END
)
status=${answer##*"
"}
case $status in
  2??) ;;
  '' | 000) say 'not delivered: WEBHOOK_URL does not answer' ;;
  *)
    # Escaped, because it is somebody else's text on the user's terminal.
    bound=1024
    part "${answer%"
$status"}"
    [ -z "$token" ] || case $escaped in *"$token"*) escaped='(left out)' ;; esac
    say "not accepted: $status $escaped"
    ;;
esac
exit 0
