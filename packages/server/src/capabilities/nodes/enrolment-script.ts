/**
 * The script that makes a machine into a node: readable before it is run, idempotent, and able to undo itself. What undoes
 * it is a script of its own that stays on the machine, since the line that was pasted is good for a while only.
 */

import { officialDoctor } from './official-doctor.ts'

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

export function enrolmentScript(enrolment: Enrolment): string {
  const own = enrolment.kind === 'own'
  return `${head(enrolment)}
# What undoes it. It is left on this machine as well: ${own ? '<folder of the agent>/undo.sh' : '/var/lib/amazon/ssm/musterbook-undo.sh'}
undo_script() {
  cat <<'UNDO'
${undoScript(enrolment, own)}UNDO
}

${own ? '' : doctorScript(enrolment)}main() {
if [ "\${1:-}" = --undo ]; then undo_script | sh; exit; fi
${own ? OWN : OFFICIAL}}

# Nothing is done before all of this has arrived.
main "$@"
`
}

const undoScript = ({ endpoint }: Enrolment, own: boolean): string => `#!/bin/sh
# Takes back what the enrolment at ${endpoint} did to this machine.
set -eu
server='${endpoint}'
${SAY}
undo() {${own ? OWN_PLACES + OWN_UNDO : OFFICIAL_PLACES + OFFICIAL_UNDO}}
undo
`

const doctorScript = ({
  endpoint,
}: Enrolment): string => `# What says what is wrong, later on: /var/lib/amazon/ssm/musterbook-doctor.sh
doctor_script() {
  cat <<'DOCTOR'
${officialDoctor(`server='${endpoint}'\n${SAY}${OFFICIAL_FILES}`)}DOCTOR
}

`

const SAY = String.raw`say() { printf 'musterbook: %s\n' "$*"; }
fail() { printf 'musterbook: %s\n' "$*" >&2; exit 1; }
has_systemd() { [ -d /run/systemd/system ] && [ "$(id -u)" = 0 ]; }
farewell() { say "this machine is no longer a node of $server; forget it there: aws ssm deregister-managed-instance --instance-id $1"; }`

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
# Running it again changes nothing. To undo it: the script that it leaves here, or, while this line is good, the same line
# with "sh -s -- --undo" at its end.
set -eu

server='${endpoint}'
account='${account}'
region='${region}'
token='${token}'
activation_id='${activationId}'
activation_code='${code}'

${SAY}
write_certificates() {
  cat > "$1" <<'CERTIFICATES'
${certificates.trim()}
CERTIFICATES
}
`

const OWN_PLACES = String.raw`
if [ "$(id -u)" = 0 ]; then home=/opt/musterbook-agent; else home="$HOME/.local/share/musterbook-agent"; fi
home="${'$'}{MUSTERBOOK_AGENT_HOME:-$home}"
unit=/etc/systemd/system/musterbook-agent.service

# After a restart of the machine the number may be that of another program.
command_of() { if [ -r "/proc/$1/cmdline" ]; then tr '\0' ' ' < "/proc/$1/cmdline"; else ps -o args= -p "$1" 2>/dev/null || true; fi; }
is_running() { [ -f "$home/agent.pid" ] && command_of "$(cat "$home/agent.pid")" | grep -qF "$home/agent.cjs"; }
stop_agent() {
  if has_systemd && [ -f "$unit" ]; then systemctl disable --quiet --now musterbook-agent || true; fi
  if is_running; then
    pid="$(cat "$home/agent.pid")"
    kill "$pid"
    tries=0
    while kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 50 ]; do sleep 0.2; tries=$((tries + 1)); done
  fi
  rm -f "$home/agent.pid"
}
`

const OWN_UNDO = String.raw`
node_id="$(sed -n 's/.*"instanceId":"\([^"]*\)".*/\1/p' "$home/data/identity.json" 2>/dev/null || true)"
stop_agent
if has_systemd && [ -f "$unit" ]; then rm -f "$unit"; systemctl daemon-reload; fi
rm -rf "$home"
farewell "${'$'}{node_id:-<its id>}"
`

const OWN = String.raw`${OWN_PLACES}
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
{ printf '#!/bin/sh\nexport MUSTERBOOK_AGENT_HOME="%s"\n' "$home"; undo_script; } > "$home/undo.sh"

settings() {
  cat > "$home/settings.json.new" <<SETTINGS
{"endpoint":"$server","region":"$region","dataFolder":"$home/data","caFile":"$home/ca.pem"$1}
SETTINGS
  mv "$home/settings.json.new" "$home/settings.json"
}

stop_agent
mv "$home/agent.cjs.new" "$home/agent.cjs"
settings ",\"activation\":{\"id\":\"$activation_id\",\"code\":\"$activation_code\"}"
# A machine that is a node already stays that node, unless the server does not know it any more.
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
say "to undo this: sh $home/undo.sh"
`

const OFFICIAL_FILES = String.raw`
config=/etc/amazon/ssm/amazon-ssm-agent.json
before=/etc/amazon/ssm/amazon-ssm-agent.json.before-musterbook
debian=/usr/local/share/ca-certificates/musterbook.crt
fedora=/etc/pki/ca-trust/source/anchors/musterbook.crt
registration=/var/lib/amazon/ssm/registration
mark=/var/lib/amazon/ssm/musterbook
undo=/var/lib/amazon/ssm/musterbook-undo.sh
doctor=/var/lib/amazon/ssm/musterbook-doctor.sh
[ "$(id -u)" = 0 ] || fail 'run it as root'
node_id="$(sed -n 's/.*"ManagedInstanceID":"\([^"]*\)".*/\1/p' "$registration" 2>/dev/null || true)"
`

const OFFICIAL_PLACES = `${OFFICIAL_FILES}
agent="$(command -v amazon-ssm-agent || true)"
stop_agent() { if has_systemd; then systemctl stop amazon-ssm-agent || true; fi; }
renew_trust() {
  if command -v update-ca-certificates >/dev/null; then update-ca-certificates >/dev/null
  elif command -v update-ca-trust >/dev/null; then update-ca-trust
  else fail 'neither update-ca-certificates nor update-ca-trust is here: the agent would not trust the server'
  fi
}
`

const OFFICIAL_UNDO = `
# A registration or a configuration that was not made here is not ours to clear.
is_ours() { [ -f "$mark" ] || { [ -f "$config" ] && grep -qF "\\"$server\\"" "$config"; }; }

if is_ours; then
  stop_agent
  if [ -f "$mark" ]; then
    if [ -n "$agent" ]; then "$agent" -register -clear -y >/dev/null || true; fi
    rm -f "$registration" "$mark"
  fi
  rm -f "$config"
  if [ -f "$before" ]; then mv "$before" "$config"; fi
else
  node_id=
fi
rm -f "$debian" "$fedora" "$undo" "$doctor"
renew_trust
farewell "\${node_id:-<its id>}"
`

const OFFICIAL = `${OFFICIAL_PLACES}${String.raw`
start_agent() { if has_systemd; then systemctl enable --quiet --now amazon-ssm-agent; else say 'start it now: amazon-ssm-agent'; fi; }
# Registered here, at this server, and known there still.
is_registered() {
  [ -n "$node_id" ] && [ -f "$mark" ] && grep -qxF "$server" "$mark" && curl -fs -o /dev/null "$server/enroll/$token/nodes/$node_id"
}

[ -n "$agent" ] || fail 'amazon-ssm-agent is not installed: install it with your package manager first'
command -v curl >/dev/null || fail 'curl is missing'
say "this machine becomes a node of $server (account $account, region $region)"
if [ -d "$(dirname "$fedora")" ]; then write_certificates "$fedora"; else mkdir -p "$(dirname "$debian")"; write_certificates "$debian"; fi
renew_trust
mkdir -p "$(dirname "$config")" "$(dirname "$undo")"
undo_script > "$undo"
doctor_script > "$doctor"
if [ -f "$config" ] && [ ! -f "$before" ] && ! grep -q "$server" "$config"; then cp -p "$config" "$before"; fi
cat > "$config" <<CONFIG
{"Ssm":{"Endpoint":"$server"},"Mds":{"Endpoint":"$server"},"Mgs":{"Endpoint":"$server"},"Agent":{"Region":"$region"},"Identity":{"ConsumptionOrder":["OnPrem"]}}
CONFIG
stop_agent
if is_registered; then
  say "it is registered already, as $node_id"
else
  "$agent" -register -y -id "$activation_id" -code "$activation_code" -region "$region" || fail 'the registration was refused: see above'
  printf '%s\n' "$server" > "$mark"
fi
start_agent
say "done; to see whether all is well: sh $doctor; to undo this: sh $undo"
`}`
