/**
 * The doctor of a machine with the official agent, on which there may be no Node.js: a script that the enrolment leaves
 * there. It says in plain words what is wrong, from the ground up, changes nothing, and ends with 1 when something is.
 */

/** `places`: the shell lines that name files and define `say`, `fail`, `server`, `config`, `registration`, `mark` and `node_id`. */
export const officialDoctor = (places: string): string => `#!/bin/sh
# Says what keeps this machine from being a node, from the ground up. Changes nothing.
set -eu
${places}${LOOK}`

const LOOK = String.raw`
wrong=0
ok() { printf 'ok     %s\n' "$*"; }
bad() { printf 'WRONG  %s\n' "$*"; wrong=1; }

explain() {
  case "$1" in
    6) bad "the name in $server is not known here: check DNS, or use an address" ;;
    7) bad "nothing listens at $server: is the control plane running, and is this its TLS port?" ;;
    28) bad "$server does not answer: a firewall may be in the way" ;;
    35 | 52 | 56) bad "$server speaks no TLS: is this its TLS port?" ;;
    60 | 77) bad "this machine does not trust the certificate of $server: its clock may be wrong, or paste the line of musterbook enroll again, which installs the authority" ;;
    *) bad "$server cannot be reached (curl ended with $1)" ;;
  esac
}

look() {
  said="$(curl -sS -m 10 -k -o /dev/null -D - "$server/healthz" 2>/dev/null | tr -d '\r' || true)"
  curl -sS -m 10 -o /dev/null "$server/healthz" 2>/dev/null && reached=0 || reached=$?
  if [ "$reached" = 0 ]; then ok "$server is reachable and trusted"; else explain "$reached"; fi

  theirs="$(printf '%s\n' "$said" | sed -n 's/^[Dd]ate: //p')"
  if [ -n "$theirs" ] && theirs="$(date -u -d "$theirs" +%s 2>/dev/null)"; then
    skew=$(($(date -u +%s) - theirs))
    # Signatures are good for five minutes; half of that is time to do something.
    if [ "$skew" -gt 150 ] || [ "$skew" -lt -150 ]; then bad "the clock of this machine is $skew s from that of the control plane: set it, signatures are refused from 300 s on"
    else ok 'the clock of this machine agrees with that of the control plane'; fi
  fi

  if [ "$(grep -o "\"Endpoint\":\"$server\"" "$config" 2>/dev/null | grep -c .)" = 3 ]; then ok "$config names $server for all of its endpoints"
  else bad "$config does not name $server for Ssm, Mds and Mgs: paste the line of musterbook enroll again"; fi

  if [ -z "$node_id" ]; then bad 'this machine is registered nowhere: ask for a line with musterbook enroll --official'
  elif ! grep -qxF "$server" "$mark" 2>/dev/null; then bad "this machine is $node_id of another server than $server"
  else ok "this machine is registered as $node_id"; fi

  pid="$(pgrep -o -x amazon-ssm-agen || true)"
  if [ -z "$pid" ]; then bad 'the agent does not run: systemctl start amazon-ssm-agent'
  else
    ok "the agent runs (process $pid)"
    if tr '\0' '\n' < "/proc/$pid/environ" | grep -q '^AWS_CA_BUNDLE='; then bad 'AWS_CA_BUNDLE is set for the agent, and some of its calls trust nothing else: take it out of its service'; fi
    refused="$(grep -ohE 'AccessDeniedException|MachineFingerprintDoesNotMatch|InvalidInstanceId' /var/log/amazon/ssm/errors.log 2>/dev/null | tail -n 1 || true)"
    if [ -n "$refused" ]; then say "its log has seen a refusal ($refused); if that goes on, the node was deregistered, copied, or its role forbids it: see /var/log/amazon/ssm/errors.log"; fi
  fi

  if [ "$wrong" = 0 ]; then printf '\nNothing is wrong.\n'; else printf '\nSomething is wrong: see above.\n'; fi
  return "$wrong"
}
look
`
