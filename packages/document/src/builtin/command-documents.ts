/**
 * Amazon-owned Command and Policy documents: published names, parameters, defaults and patterns; words are our own.
 * A document that the product cannot carry out yet says why in `notYet`, and its content fails on a node rather than pretend.
 */
import type { JsonObject } from '../json.ts'
import type { BuiltinDocument } from './index.ts'
import { executionTimeout, OPTIONAL_URL_PATTERN, workingDirectory } from './script-parameters.ts'

const commandDefaults = {
  documentType: 'Command',
  documentFormat: 'JSON',
  version: '1',
  createdDate: '2026-11-23',
  owner: 'Amazon',
  targetType: '/',
} as const

function runScript(plugin: string, what: string): JsonObject {
  return {
    schemaVersion: '1.2',
    description: `Run ${what}.`,
    parameters: {
      commands: {
        type: 'StringList',
        description: `(Required) The ${what} to run, one line each.`,
        minItems: 1,
        displayType: 'textarea',
      },
      workingDirectory,
      executionTimeout,
    },
    runtimeConfig: {
      [plugin]: {
        properties: [
          {
            id: `0.${plugin}`,
            runCommand: '{{ commands }}',
            workingDirectory: '{{ workingDirectory }}',
            timeoutSeconds: '{{ executionTimeout }}',
          },
        ],
      },
    },
  }
}

const optionalText = (description: string): JsonObject => ({
  type: 'String',
  default: '',
  description: `(Optional) ${description}`,
})
const optionalMap = (description: string): JsonObject => ({
  type: 'StringMap',
  default: {},
  description: `(Optional) ${description}`,
  displayType: 'textarea',
})
const toggle = (what: string): JsonObject => ({
  type: 'String',
  default: 'Enabled',
  description: `(Optional) Collect ${what}.`,
  allowedValues: ['Enabled', 'Disabled'],
})

/** A step for each platform that ends with an error instead of doing nothing and calling it success. */
function refuse(reason: string): JsonObject[] {
  return [
    {
      precondition: { StringEquals: ['platformType', 'Windows'] },
      action: 'aws:runPowerShellScript',
      name: 'RefuseOnWindows',
      inputs: { timeoutSeconds: 60, runCommand: [`[Console]::Error.WriteLine("${reason}")`, 'exit 1'] },
    },
    ...['Linux', 'MacOS'].map((platform) => ({
      precondition: { StringEquals: ['platformType', platform] },
      action: 'aws:runShellScript',
      name: `RefuseOn${platform}`,
      inputs: { timeoutSeconds: 60, runCommand: [`echo "${reason}" >&2`, 'exit 1'] },
    })),
  ]
}

const NO_PATCHING = 'AWS-RunPatchBaseline cannot be carried out: this server does not evaluate patch baselines yet.'

export const COMMAND_DOCUMENTS: readonly BuiltinDocument[] = [
  {
    ...commandDefaults,
    name: 'AWS-RunShellScript',
    description: 'Run shell commands.',
    platformTypes: ['Linux', 'MacOS'],
    content: runScript('aws:runShellScript', 'shell commands'),
  },
  {
    ...commandDefaults,
    name: 'AWS-RunPowerShellScript',
    description: 'Run PowerShell commands.',
    platformTypes: ['Windows', 'Linux', 'MacOS'],
    content: runScript('aws:runPowerShellScript', 'PowerShell commands'),
  },
  {
    ...commandDefaults,
    name: 'AWS-RunDocument',
    description: 'Fetch a document and run it on the node.',
    platformTypes: ['Windows', 'Linux'],
    content: {
      schemaVersion: '2.2',
      description: 'Fetch a document and run it on the node.',
      parameters: {
        sourceType: {
          type: 'String',
          description: '(Required) Where the document is kept.',
          allowedValues: ['GitHub', 'S3', 'SSMDocument'],
        },
        sourceInfo: optionalMap('What the source needs to be found, as JSON.'),
        documentPath: optionalText('Path of the document below the downloaded folder.'),
        documentParameters: optionalMap('Parameters for the document, as JSON.'),
      },
      mainSteps: [
        {
          action: 'aws:downloadContent',
          name: 'downloadContent',
          inputs: { sourceType: '{{ sourceType }}', sourceInfo: '{{ sourceInfo }}' },
        },
        {
          action: 'aws:runDocument',
          name: 'runDocument',
          inputs: {
            documentType: 'LocalPath',
            documentPath: '{{ documentPath }}',
            documentParameters: '{{ documentParameters }}',
          },
        },
      ],
    },
  },
  {
    ...commandDefaults,
    name: 'AWS-RunRemoteScript',
    description: 'Fetch a script and run it on the node.',
    platformTypes: ['Windows', 'Linux'],
    content: {
      schemaVersion: '2.2',
      description: 'Fetch a script and run it on the node.',
      parameters: {
        sourceType: {
          type: 'String',
          description: '(Required) Where the script is kept.',
          allowedValues: ['GitHub', 'S3'],
        },
        sourceInfo: optionalMap('What the source needs to be found, as JSON.'),
        commandLine: {
          type: 'String',
          default: '',
          description: '(Required) The command line to run, with the script in the current folder.',
          displayType: 'textarea',
        },
        workingDirectory,
        executionTimeout,
      },
      mainSteps: [
        {
          action: 'aws:downloadContent',
          name: 'downloadContent',
          inputs: { sourceType: '{{ sourceType }}', sourceInfo: '{{ sourceInfo }}' },
        },
        {
          precondition: { StringEquals: ['platformType', 'Windows'] },
          action: 'aws:runPowerShellScript',
          name: 'runPowerShellScript',
          inputs: {
            runCommand: ['$env:PATH = "$env:PATH;$(Get-Location)"', '{{ commandLine }}', 'exit $LASTEXITCODE'],
            workingDirectory: '{{ workingDirectory }}',
            timeoutSeconds: '{{ executionTimeout }}',
          },
        },
        {
          precondition: { StringEquals: ['platformType', 'Linux'] },
          action: 'aws:runShellScript',
          name: 'runShellScript',
          inputs: {
            runCommand: ['PATH="$PATH:$(pwd)"', 'export PATH', '{{ commandLine }}'],
            workingDirectory: '{{ workingDirectory }}',
            timeoutSeconds: '{{ executionTimeout }}',
          },
        },
      ],
    },
  },
  {
    ...commandDefaults,
    name: 'AWS-RefreshAssociation',
    createdDate: '2026-11-24',
    description: 'Apply associations on the node now instead of at their next time.',
    platformTypes: ['Windows', 'Linux', 'MacOS'],
    notYet: 'AWS-RefreshAssociation cannot be carried out: this server has no associations yet.',
    content: {
      schemaVersion: '1.2',
      description: 'Apply associations on the node now instead of at their next time.',
      parameters: {
        associationIds: {
          type: 'StringList',
          default: [''],
          description: '(Optional) The associations to apply; all of the node when empty.',
        },
      },
      runtimeConfig: {
        'aws:refreshAssociation': {
          properties: { id: '0.aws:refreshAssociation', associationIds: '{{ associationIds }}' },
        },
      },
    },
  },
  {
    ...commandDefaults,
    name: 'AWS-UpdateSSMAgent',
    description: 'Bring the agent on the node to another version.',
    platformTypes: ['Windows', 'Linux', 'MacOS'],
    notYet: 'AWS-UpdateSSMAgent cannot be carried out: this server does not publish agent versions yet.',
    content: {
      schemaVersion: '1.2',
      description: 'Bring the agent on the node to another version.',
      parameters: {
        version: optionalText('The version to install; the latest when empty.'),
        allowDowngrade: {
          type: 'String',
          default: 'false',
          description: '(Optional) Whether an older version may be installed.',
          allowedValues: ['true', 'false'],
        },
      },
      runtimeConfig: {
        'aws:updateSsmAgent': {
          properties: {
            agentName: 'amazon-ssm-agent',
            allowDowngrade: '{{ allowDowngrade }}',
            targetVersion: '{{ version }}',
          },
        },
      },
    },
  },
  {
    ...commandDefaults,
    name: 'AWS-ConfigureAWSPackage',
    description: 'Install or remove a package that Distributor keeps.',
    platformTypes: ['Windows', 'Linux', 'MacOS'],
    notYet: 'AWS-ConfigureAWSPackage cannot be carried out: this server does not distribute packages yet.',
    content: {
      schemaVersion: '2.2',
      description: 'Install or remove a package that Distributor keeps.',
      parameters: {
        action: {
          type: 'String',
          description: '(Required) What to do with the package.',
          allowedValues: ['Install', 'Uninstall'],
        },
        installationType: {
          type: 'String',
          default: 'Uninstall and reinstall',
          description: '(Optional) How an installed package gives way to the new one.',
          allowedValues: ['Uninstall and reinstall', 'In-place update'],
        },
        name: {
          type: 'String',
          description: '(Required) Name or ARN of the package.',
          allowedPattern: '^arn:[0-9a-zA-Z:/._\\-]+$|^[a-zA-Z][a-zA-Z0-9\\-_]{0,39}$',
        },
        version: optionalText('Version of the package; the latest, or the installed one on removal, when empty.'),
        additionalArguments: optionalMap('Variables for the package scripts, as JSON; every name begins with SSM_.'),
      },
      mainSteps: [
        {
          action: 'aws:configurePackage',
          name: 'configurePackage',
          inputs: {
            name: '{{ name }}',
            action: '{{ action }}',
            installationType: '{{ installationType }}',
            version: '{{ version }}',
            additionalArguments: '{{ additionalArguments }}',
          },
        },
      ],
    },
  },
  {
    ...commandDefaults,
    name: 'AWS-GatherSoftwareInventory',
    documentType: 'Policy',
    description: 'Collect what is installed and configured on the node.',
    platformTypes: ['Windows', 'Linux', 'MacOS'],
    notYet: 'AWS-GatherSoftwareInventory cannot be carried out: this server does not schedule inventory yet.',
    content: {
      schemaVersion: '2.0',
      description: 'Collect what is installed and configured on the node.',
      parameters: {
        applications: toggle('installed applications'),
        awsComponents: toggle('AWS drivers and agents'),
        files: { ...optionalText('Which files to list, as JSON.'), displayType: 'textarea' },
        networkConfig: toggle('network interfaces'),
        windowsUpdates: toggle('Windows updates'),
        instanceDetailedInformation: toggle('processor and system details'),
        services: toggle('Windows services'),
        windowsRegistry: { ...optionalText('Which registry keys to read, as JSON.'), displayType: 'textarea' },
        windowsRoles: toggle('Windows roles'),
        customInventory: toggle('custom inventory files'),
        billingInfo: toggle('billing details of the platform'),
      },
      mainSteps: [
        {
          action: 'aws:softwareInventory',
          name: 'collectSoftwareInventoryItems',
          inputs: Object.fromEntries(
            [
              'applications',
              'awsComponents',
              'networkConfig',
              'files',
              'services',
              'windowsRoles',
              'windowsRegistry',
              'windowsUpdates',
              'instanceDetailedInformation',
              'customInventory',
              'billingInfo',
            ].map((name) => [name, `{{ ${name} }}`]),
          ),
        },
      ],
    },
  },
  {
    ...commandDefaults,
    name: 'AWS-RunPatchBaseline',
    description: 'Scan the node for missing patches, or install them, by its patch baseline.',
    platformTypes: ['Windows', 'Linux', 'MacOS'],
    notYet: NO_PATCHING,
    content: {
      schemaVersion: '2.2',
      description: 'Scan the node for missing patches, or install them, by its patch baseline.',
      parameters: {
        Operation: {
          type: 'String',
          description: '(Required) Only look, or also install.',
          allowedValues: ['Scan', 'Install'],
        },
        AssociationId: {
          ...optionalText('The association on whose behalf this runs.'),
          allowedPattern: '^$|^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$',
        },
        SnapshotId: {
          ...optionalText('The baseline snapshot to work by.'),
          allowedPattern: '^$|^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$',
        },
        InstallOverrideList: {
          ...optionalText('Address of a list of patches to install instead of those approved.'),
          allowedPattern: OPTIONAL_URL_PATTERN,
        },
        BaselineOverride: {
          ...optionalText('Address of baselines to use instead.'),
          allowedPattern: OPTIONAL_URL_PATTERN,
        },
        RebootOption: {
          type: 'String',
          default: 'RebootIfNeeded',
          description: '(Optional) Whether the node restarts after installing.',
          allowedValues: ['RebootIfNeeded', 'NoReboot'],
        },
      },
      mainSteps: refuse(NO_PATCHING),
    },
  },
]
