/** The script that makes a machine into a node: readable before it is run, idempotent, and able to undo itself. */

export interface Enrolment {
  kind: string
  /** `https://host:port` */
  endpoint: string
  account: string
  region: string
  /** PEM. */
  certificates: string
  token: string
  activationId: string
  code: string
}

export const enrolmentScript = (enrolment: Enrolment): string =>
  `${head(enrolment)}
main() {${enrolment.kind === 'own' ? OWN : OFFICIAL}}

# Nothing is done before all of this has arrived.
main "$@"
`

/** Everything that stands between quotes was checked where it came in: ids, base 64 and host names hold no quote. */
const head = ({
  kind,
  endpoint,
  account,
  region,
  certificates,
  token,
  activationId,
  code,
}: Enrolment): string => `#!/bin/sh
# Makes this machine a node of the Musterbook at ${endpoint}
# (account ${account}, region ${region}): its administrators can then run commands here as root.
#
# It installs ${kind === 'own' ? 'the Musterbook agent, which needs Node.js 20 or newer' : 'a configuration for the amazon-ssm-agent that is installed here'},
# the certificate of that server's authority, and a service that keeps the agent running.
# Running it again changes nothing. To undo it: the same line with "sh -s -- --undo" at its end.
set -eu

server='${endpoint}'
account='${account}'
region='${region}'
token='${token}'
activation_id='${activationId}'
activation_code='${code}'

say() { printf 'musterbook: %s\\n' "$*"; }
fail() { printf 'musterbook: %s\\n' "$*" >&2; exit 1; }
has_systemd() { [ -d /run/systemd/system ] && [ "$(id -u)" = 0 ]; }
write_certificates() {
  cat > "$1" <<'CERTIFICATES'
${certificates.trim()}
CERTIFICATES
}
`

const OWN = String.raw`
if [ "$(id -u)" = 0 ]; then home=/opt/musterbook-agent; else home="$HOME/.local/share/musterbook-agent"; fi
home="${'$'}{MUSTERBOOK_AGENT_HOME:-$home}"
unit=/etc/systemd/system/musterbook-agent.service

is_running() { [ -f "$home/agent.pid" ] && kill -0 "$(cat "$home/agent.pid")" 2>/dev/null; }
stop_agent() {
  if has_systemd && [ -f "$unit" ]; then systemctl disable --quiet --now musterbook-agent || true; fi
  if is_running; then
    kill "$(cat "$home/agent.pid")"
    tries=0
    while is_running && [ "$tries" -lt 50 ]; do sleep 0.2; tries=$((tries + 1)); done
  fi
  rm -f "$home/agent.pid"
}

if [ "${'$'}{1:-}" = --undo ]; then
  stop_agent
  if has_systemd && [ -f "$unit" ]; then rm -f "$unit"; systemctl daemon-reload; fi
  rm -rf "$home"
  say "this machine is no longer a node of $server; deregister it there to forget it"
  exit 0
fi

command -v curl >/dev/null || fail 'curl is missing'
node="$(command -v node || true)"
[ -n "$node" ] || fail 'Node.js is missing: the agent needs version 20 or newer'
major="$("$node" -p 'process.versions.node.split(".")[0]')"
[ "$major" -ge 20 ] || fail "Node.js $major is too old: the agent needs version 20 or newer"

say "this machine becomes a node of $server (account $account, region $region)"
umask 077
mkdir -p "$home"
write_certificates "$home/ca.pem"
curl -fsS --cacert "$home/ca.pem" -o "$home/agent.cjs.new" "$server/enroll/$token/agent.cjs"

settings() {
  cat > "$home/settings.json.new" <<SETTINGS
{"endpoint":"$server","region":"$region","dataFolder":"$home/data","caFile":"$home/ca.pem"$1}
SETTINGS
  mv "$home/settings.json.new" "$home/settings.json"
}

stop_agent
mv "$home/agent.cjs.new" "$home/agent.cjs"
settings ",\"activation\":{\"id\":\"$activation_id\",\"code\":\"$activation_code\"}"
registered="$("$node" "$home/agent.cjs" register "$home/settings.json")" || {
  settings ''
  fail 'the registration was refused: see above'
}
# The code is good for nothing more here.
settings ''

if has_systemd; then
  cat > "$unit" <<UNIT
[Unit]
Description=Musterbook agent
After=network-online.target
Wants=network-online.target

[Service]
ExecStart=$node $home/agent.cjs run $home/settings.json
Restart=always
RestartSec=5
KillMode=process

[Install]
WantedBy=multi-user.target
UNIT
  chmod 644 "$unit"
  systemctl daemon-reload
  systemctl enable --quiet --now musterbook-agent
  say "this machine is the node $registered; its service is musterbook-agent"
else
  nohup "$node" "$home/agent.cjs" run "$home/settings.json" >> "$home/agent.log" 2>&1 < /dev/null &
  echo $! > "$home/agent.pid"
  say "this machine is the node $registered; its log is $home/agent.log (without systemd it does not start by itself)"
fi
`

const OFFICIAL = String.raw`
config=/etc/amazon/ssm/amazon-ssm-agent.json
before=/etc/amazon/ssm/amazon-ssm-agent.json.before-musterbook
debian=/usr/local/share/ca-certificates/musterbook.crt
mark=/var/lib/amazon/ssm/musterbook
fedora=/etc/pki/ca-trust/source/anchors/musterbook.crt
[ "$(id -u)" = 0 ] || fail 'run it as root: … | sudo sh'
agent="$(command -v amazon-ssm-agent || true)"

stop_agent() { if has_systemd; then systemctl stop amazon-ssm-agent || true; fi; }
start_agent() { if has_systemd; then systemctl enable --quiet --now amazon-ssm-agent; else say 'start it now: amazon-ssm-agent'; fi; }
renew_trust() {
  if command -v update-ca-certificates >/dev/null; then update-ca-certificates >/dev/null
  elif command -v update-ca-trust >/dev/null; then update-ca-trust
  else fail 'neither update-ca-certificates nor update-ca-trust is here: the agent would not trust the server'
  fi
}

if [ "${'$'}{1:-}" = --undo ]; then
  stop_agent
  # A registration that was not made here is not ours to clear.
  if [ -f "$mark" ]; then
    if [ -n "$agent" ]; then "$agent" -register -clear -y >/dev/null || true; fi
    rm -f /var/lib/amazon/ssm/registration "$mark"
  fi
  rm -f "$debian" "$fedora" "$config"
  if [ -f "$before" ]; then mv "$before" "$config"; fi
  renew_trust
  say "this machine is no longer a node of $server; deregister it there to forget it"
  exit 0
fi

[ -n "$agent" ] || fail 'amazon-ssm-agent is not installed: install it with your package manager first'
say "this machine becomes a node of $server (account $account, region $region)"
if [ -d "$(dirname "$fedora")" ]; then write_certificates "$fedora"; else mkdir -p "$(dirname "$debian")"; write_certificates "$debian"; fi
renew_trust
mkdir -p "$(dirname "$config")"
if [ -f "$config" ] && [ ! -f "$before" ] && ! grep -q "$server" "$config"; then cp -p "$config" "$before"; fi
cat > "$config" <<CONFIG
{"Ssm":{"Endpoint":"$server"},"Mds":{"Endpoint":"$server"},"Mgs":{"Endpoint":"$server"},"Agent":{"Region":"$region"},"Identity":{"ConsumptionOrder":["OnPrem"]}}
CONFIG
stop_agent
if grep -q ManagedInstanceID /var/lib/amazon/ssm/registration 2>/dev/null && [ -f "$mark" ] && grep -qxF "$server" "$mark"; then
  say 'it is registered already'
else
  "$agent" -register -y -id "$activation_id" -code "$activation_code" -region "$region" || fail 'the registration was refused: see above'
  printf '%s\n' "$server" > "$mark"
fi
start_agent
say 'done'
`
