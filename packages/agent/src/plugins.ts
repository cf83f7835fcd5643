// The document actions that this node has: one line each. An action that is not here ends as the document language says
// (skipped, or failed with the official agent's words).

import { downloadContent } from './steps/download-content.ts'
import { runDocument } from './steps/run-document.ts'
import { runPowerShellScript } from './steps/run-powershell-script.ts'
import { runShellScript } from './steps/run-shell-script.ts'
import { failed, type Plugin } from './steps/step.ts'

/** Exists in documents, but this agent cannot carry it out: the step fails and says so. */
const notSupported: Plugin = async (step) => failed(`${step.action} is not supported by this agent`)

export const PLUGIN_TABLE: ReadonlyMap<string, Plugin> = new Map([
  ['aws:runShellScript', runShellScript],
  ['aws:runPowerShellScript', runPowerShellScript],
  ['aws:runDocument', runDocument],
  ['aws:downloadContent', downloadContent],
  ['aws:refreshAssociation', notSupported],
  ['aws:softwareInventory', notSupported],
  ['aws:configurePackage', notSupported],
  ['aws:updateSsmAgent', notSupported],
  ['aws:runDockerAction', notSupported],
  ['aws:configureDocker', notSupported],
  ['aws:configureDaemon', notSupported],
  ['aws:domainJoin', notSupported],
])
