import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { SSM } from '@aws-sdk/client-ssm'
import { AGENT, eventually, startTestbed } from '@musterbook/testbed'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { route } from '../../packages/cli/src/client.ts'
import { PROGRAMS, whyNot } from '../official/official-agent.ts'
import { type Machine, noMachine, startMachine } from './machine.ts'

const reason = noMachine()

/** The line of `enroll`, as a person pastes it on the machine. */
const line = (caFile: string, url: string, ...words: string[]) =>
  `curl -fsSL --cacert ${caFile} ${url} | sh${words.length > 0 ? ` -s -- ${words.join(' ')}` : ''}`

if (reason) describe.skip(`enrolment on a machine of its own: ${reason}`, () => it('is not here', () => {}))
else
  describe('enrolment as root', () => {
    let testbed: Awaited<ReturnType<typeof startTestbed>>
    let ssm: SSM
    let enrolment: (input?: object) => Promise<string>

    beforeAll(async () => {
      testbed = await startTestbed({ options: { settings: { agentFile: AGENT } } })
      const account = await testbed.account()
      ssm = new SSM(account.config)
      enrolment = async (input = {}) => {
        const wish = { Kind: 'own', Certificates: await readFile(testbed.caFile, 'utf8'), ...input }
        const made = await route<{ Token: string }>(account.config, 'ssm', 'POST', '/v1/enrolments', wish)
        return `${testbed.nodeEndpoint}/enroll/${made.Token}`
      }
    })
    afterAll(() => testbed[Symbol.asyncDispose]())

    const connected = (nodeId: string) =>
      eventually(`${nodeId} is connected`, async () => {
        return (await ssm.getConnectionStatus({ Target: nodeId })).Status === 'connected'
      })
    async function shell(nodeId: string, command: string): Promise<void> {
      const input = { DocumentName: 'AWS-RunShellScript', InstanceIds: [nodeId], Parameters: { commands: [command] } }
      const { Command } = await ssm.sendCommand(input)
      const CommandId = Command?.CommandId ?? ''
      await eventually(`${command} has run on ${nodeId}`, async () => {
        const { CommandInvocations } = await ssm.listCommandInvocations({ CommandId })
        return CommandInvocations?.[0]?.Status === 'Success'
      })
      const shown = await ssm.getCommandInvocation({ CommandId, InstanceId: nodeId })
      expect(shown.StandardOutputContent).toBe(command.replace('echo ', '').concat('\n'))
    }
    const registeredId = (text: string) => (JSON.parse(text) as { ManagedInstanceID: string }).ManagedInstanceID
    const idIn = (text: string) => /is the node (mi-[0-9a-f]{17})/.exec(text)?.[1] ?? text
    const alive = async (machine: Machine) =>
      (await machine.run('pgrep -fa "musterbook-agent/[a]gent.cjs run"')).text.trim()

    it('installs a service that systemd accepts, is the same the second time, and undoes itself', async () => {
      await using machine = await startMachine({ systemd: true })
      const url = await enrolment({ Tags: { Env: 'prod', Role: 'web' } })
      const first = await machine.run(line(testbed.caFile, url))
      expect(first.text).toContain('its service is musterbook-agent')
      expect(first.code).toBe(0)
      const nodeId = idIn(first.text)
      await connected(nodeId)
      await shell(nodeId, 'echo own')
      const { TagList } = await ssm.listTagsForResource({ ResourceType: 'ManagedInstance', ResourceId: nodeId })
      expect(TagList?.map(({ Key, Value }) => `${Key}=${Value}`).sort()).toEqual(['Env=prod', 'Role=web'])
      expect(await machine.calls()).toEqual(['daemon-reload', 'enable --quiet --now musterbook-agent'])
      const unit = '/etc/systemd/system/musterbook-agent.service'
      if (existsSync('/usr/bin/systemd-analyze'))
        expect(await machine.run(`systemd-analyze verify ${unit}`)).toEqual({ code: 0, text: '' })
      expect(await machine.read(unit)).toMatch(/^ExecStart=\/.*node \/opt\/musterbook-agent\/agent\.cjs run \//m)
      // Scripts that run go on when the service is stopped or updated.
      expect(await machine.read(unit)).toMatch(/^KillMode=process$/m)
      const modes = await machine.run('stat -c %a /opt/musterbook-agent /opt/musterbook-agent/settings.json')
      expect(modes.text).toBe('700\n600\n')
      expect((await machine.run('node /opt/musterbook-agent/agent.cjs doctor')).text).toContain('Nothing is wrong.')

      const second = await machine.run(line(testbed.caFile, url))
      expect(idIn(second.text)).toBe(nodeId)
      await connected(nodeId)
      expect((await alive(machine)).split('\n')).toHaveLength(1)
      expect((await ssm.describeInstanceInformation({})).InstanceInformationList).toHaveLength(1)

      const undone = await machine.run(line(testbed.caFile, url, '--undo'))
      expect(undone).toMatchObject({ code: 0, text: expect.stringContaining('no longer a node') })
      expect((await machine.calls()).slice(-2)).toEqual(['disable --quiet --now musterbook-agent', 'daemon-reload'])
      expect((await machine.run(`ls ${unit} /opt/musterbook-agent`)).code).not.toBe(0)
      expect(await alive(machine)).toBe('')
      const again = await machine.run(line(testbed.caFile, url, '--undo'))
      expect(again.code).toBe(0)
    })

    const trust = '/usr/sbin/update-ca-certificates'
    const official = whyNot() ?? (existsSync(trust) ? undefined : `there is no ${trust}`)
    it.skipIf(official)(
      `configures the official agent that is installed${official ? `: ${official}` : ''}`,
      async () => {
        await using machine = await startMachine({ systemd: true })
        for (const name of PROGRAMS)
          await machine.install(join(process.env.MUSTERBOOK_OFFICIAL_AGENT ?? '', name), `/usr/bin/${name}`)
        const config = '/etc/amazon/ssm/amazon-ssm-agent.json'
        await machine.run(`mkdir -p /etc/amazon/ssm && echo '{"Mds":{"CommandWorkersLimit":3}}' > ${config}`)
        const [before, bundle] = [await machine.read(config), '/etc/ssl/certs/ca-certificates.crt']
        const trustedBefore = await machine.run(`cksum < ${bundle}`)
        const url = await enrolment({ Kind: 'official', Tags: { Env: 'prod' } })
        const first = await machine.run(line(testbed.caFile, url))
        expect([first.code, first.text]).toEqual([0, expect.stringContaining('musterbook: done')])
        const undoing = '/var/lib/amazon/ssm/musterbook-undo.sh'
        expect((await machine.run(`sh -n ${undoing}`)).code).toBe(0)
        expect(await machine.read(undoing)).not.toContain('activation')
        const nodeId = await machine.read('/var/lib/amazon/ssm/registration').then(registeredId)
        await connected(nodeId)
        await shell(nodeId, 'echo official')
        const { TagList } = await ssm.listTagsForResource({ ResourceType: 'ManagedInstance', ResourceId: nodeId })
        expect(TagList).toEqual([{ Key: 'Env', Value: 'prod' }])
        expect(JSON.parse(await machine.read(config))).toMatchObject({ Mgs: { Endpoint: testbed.nodeEndpoint } })
        // The machine as a whole trusts the server now.
        expect((await machine.run(`curl -fsS -o /dev/null ${url}`)).code).toBe(0)

        const doctor = 'sh /var/lib/amazon/ssm/musterbook-doctor.sh'
        const well = await machine.run(doctor)
        expect(well.text).toContain(`ok     ${testbed.nodeEndpoint} is reachable and trusted`)
        expect(well.text).toContain('ok     the clock of this machine agrees')
        expect(well.text).toContain(`ok     this machine is registered as ${nodeId}`)
        expect([well.code, well.text]).toEqual([0, expect.stringContaining('Nothing is wrong.')])
        const ahead = '#!/bin/sh\n[ "$*" = "-u +%s" ] && exec expr "$(/bin/date +%s)" + 600\nexec /bin/date "$@"\n'
        await machine.run(`mkdir /var/ahead && cat > /var/ahead/date <<'END'\n${ahead}END\nchmod 755 /var/ahead/date`)
        expect((await machine.run(`PATH=/var/ahead:$PATH ${doctor}`)).text).toMatch(
          /WRONG {2}the clock of this machine is (59|60)\d s from that of the control plane/,
        )
        // A machine where everything was spoiled: each is told.
        const ca = '/usr/local/share/ca-certificates/musterbook.crt'
        const spoil = ['systemctl stop amazon-ssm-agent', `rm ${ca}`, trust, `echo '{}' > ${config}`]
        await machine.run(spoil.join(' && '))
        const ill = await machine.run(doctor)
        expect(ill.text).toContain('WRONG  this machine does not trust the certificate of')
        expect(ill.text).toContain(`WRONG  ${config} does not name ${testbed.nodeEndpoint}`)
        expect(ill.text).toContain('WRONG  the agent does not run')
        expect(ill.code).toBe(1)

        const second = await machine.run(line(testbed.caFile, url))
        expect([second.code, second.text]).toEqual([0, expect.stringContaining('it is registered already')])
        expect(await machine.read('/var/lib/amazon/ssm/registration').then(registeredId)).toBe(nodeId)
        await connected(nodeId)
        await shell(nodeId, 'echo again')

        // One that was deregistered does not come back by pretending.
        await ssm.deregisterManagedInstance({ InstanceId: nodeId })
        const anew = await machine.run(line(testbed.caFile, await enrolment({ Kind: 'official' })))
        expect([anew.code, anew.text]).toEqual([0, expect.not.stringContaining('registered already')])
        const newId = await machine.read('/var/lib/amazon/ssm/registration').then(registeredId)
        expect(newId).not.toBe(nodeId)
        await connected(newId)
        await shell(newId, 'echo anew')

        const undone = await machine.run(`sh ${undoing}`)
        expect([undone.code, undone.text]).toEqual([0, expect.stringContaining('no longer a node')])
        expect(undone.text).toContain(`--instance-id ${newId}`)
        expect(await machine.read(config)).toBe(before)
        expect(await machine.run(`cksum < ${bundle}`)).toEqual(trustedBefore)
        for (const gone of [
          '/var/lib/amazon/ssm/musterbook',
          undoing,
          '/var/lib/amazon/ssm/musterbook-doctor.sh',
          '/var/lib/amazon/ssm/registration',
          '/usr/local/share/ca-certificates/musterbook.crt',
          `${config}.before-musterbook`,
        ])
          await expect(machine.read(gone), gone).rejects.toThrow('ENOENT')
        expect((await machine.run('pgrep -fa "^amazon-ssm-[a]gent"')).text).toBe('')
        // Once more takes nothing away that was not brought.
        expect((await machine.run(line(testbed.caFile, url, '--undo'))).code).toBe(0)
        expect(await machine.read(config)).toBe(before)
      },
    )

    it('is good for as many machines as its count says, and no more', async () => {
      const url = await enrolment({ Count: 2 })
      await using one = await startMachine({ systemd: false })
      await using two = await startMachine({ systemd: false })
      await using three = await startMachine({ systemd: false })
      const ids = [
        idIn((await one.run(line(testbed.caFile, url))).text),
        idIn((await two.run(line(testbed.caFile, url))).text),
      ]
      expect(new Set(ids).size).toBe(2)
      for (const nodeId of ids) await connected(nodeId)
      const refused = await three.run(line(testbed.caFile, url))
      expect(refused.text).toContain('RegistrationLimitExceeded')
      expect(refused.text).toContain('musterbook: the registration was refused')
      expect(refused.code).toBe(1)
      expect(await three.read('/opt/musterbook-agent/settings.json')).not.toContain('activation')
    })

    it('does nothing on a machine without Node.js but say so', async () => {
      await using machine = await startMachine({ systemd: false })
      const { code, text } = await machine.run(
        `rm -f /usr/bin/node /usr/local/bin/node; ${line(testbed.caFile, await enrolment())}`,
      )
      expect([code, text]).toEqual([1, 'musterbook: Node.js is missing: the agent needs version 20 or newer\n'])
      expect((await machine.run('ls /opt/musterbook-agent')).code).not.toBe(0)
    })

    it('is over when its time is', async () => {
      const url = await enrolment({ Hours: 0.5 })
      testbed.clock.advance(30 * 60_000)
      await using machine = await startMachine({ systemd: false })
      expect((await machine.run(line(testbed.caFile, url))).text).toContain('404')
      expect((await machine.run('ls /opt/musterbook-agent')).code).not.toBe(0)
    })
  })
