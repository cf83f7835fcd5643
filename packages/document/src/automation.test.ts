import { describe, expect, it } from 'vitest'
import type { DocumentError } from './error.ts'
import type { JsonObject } from './json.ts'
import { parseDocument } from './parse.ts'

const runbook = (...mainSteps: unknown[]) => ({ schemaVersion: '0.3', mainSteps })
const read = (content: object) => parseDocument(JSON.stringify(content), 'JSON', 'Automation')
function complaint(content: object): string {
  try {
    read(content)
  } catch (error) {
    expect((error as DocumentError).code).toBe('InvalidDocumentContent')
    return (error as DocumentError).message
  }
  return 'nothing'
}

const pause = (name: string, more: object = {}) => ({ name, action: 'aws:pause', ...more })
const step = (action: string, inputs: object) => ({ name: 'one', action, inputs })
const branch = (...Choices: object[]) => step('aws:branch', { Choices })
const choice = { Variable: '{{ global:REGION }}', StringEquals: 'eu', NextStep: 'two' }
const loop = (inputs: object) => step('aws:loop', { Iterators: ['a'], Steps: [pause('inner')], ...inputs })

describe('a runbook', () => {
  it('is taken with everything that is published of one', () => {
    const content: JsonObject = {
      schemaVersion: '0.3',
      description: 'All of it.',
      assumeRole: '{{ AutomationAssumeRole }}',
      parameters: {
        AutomationAssumeRole: { type: 'AWS::IAM::Role::Arn', default: '' },
        ids: { type: 'List<AWS::EC2::Instance::Id>' },
      },
      variables: { count: { type: 'Integer', default: 0 } },
      mainSteps: [
        {
          name: 'find',
          action: 'aws:executeAwsApi',
          inputs: { Service: 'ssm', Api: 'ListCommands', AnythingOfTheApi: ['{{ ids }}'] },
          outputs: [{ Name: 'Id', Selector: '$.Commands[0].CommandId', Type: 'String' }],
          onFailure: 'step:clean',
          onCancel: 'Abort',
          isCritical: false,
        },
        {
          name: 'choose',
          action: 'aws:branch',
          inputs: {
            Choices: [
              { NextStep: 'run', Not: { Variable: '{{ find.Id }}', StringEquals: '' } },
              { NextStep: 'find', And: [{ Variable: '{{ find.Id }}', Contains: 'x' }, { Or: [] }] },
            ],
            Default: 'clean',
          },
        },
        {
          name: 'run',
          action: 'aws:runCommand',
          inputs: { DocumentName: 'AWS-RunShellScript', InstanceIds: '{{ ids }}', Parameters: { commands: ['date'] } },
          maxAttempts: 3,
          timeoutSeconds: 600,
          onFailure: 'Continue',
          nextStep: 'each',
        },
        {
          name: 'each',
          action: 'aws:loop',
          inputs: {
            Iterators: '{{ ids }}',
            IteratorDataType: 'String',
            Steps: [
              {
                name: 'say',
                action: 'aws:executeScript',
                inputs: { Runtime: 'python3.11', Handler: 'f', Script: 'f"{{x}}"' },
              },
              { name: 'rest', action: 'aws:sleep', inputs: { Duration: 'PT1M' }, isEnd: true },
            ],
          },
        },
        { name: 'clean', action: 'aws:updateVariable', inputs: { Name: 'variable:count', Value: 1 }, isEnd: 'true' },
      ],
      outputs: ['find.Id', 'run.Output', 'variable:count'],
    }
    expect(read(content).kind).toBe('automation')
  })

  it.each([
    ['without steps', { schemaVersion: '0.3', mainSteps: [] }, 'Missing "mainSteps" in the document.'],
    ['whose step has no name', runbook({ action: 'aws:pause' }), 'Missing "name" in step detail.'],
    ['whose step has no action', runbook({ name: 'one' }), 'Missing "action" in step detail.'],
    ['whose step has a name with a space', runbook(pause('a b')), 'StepName: a b is invalid.'],
    [
      'with two steps of one name',
      runbook(pause('one'), pause('one')),
      'Duplicate step names found in mainSteps of the document.',
    ],
    [
      'with the name of a step again in a loop',
      runbook(pause('inner'), loop({})),
      'Duplicate step names found in mainSteps of the document.',
    ],
    ['with a plugin of agents', runbook(step('aws:runShellScript', {})), 'Unknown action: aws:runShellScript'],
    ['whose inputs are a list', runbook({ ...pause('one'), inputs: [] }), 'Invalid "inputs" in step one.'],
    [
      'that leaves an input out',
      runbook(step('aws:executeAwsApi', { Service: 'ssm' })),
      'Missing "Api" in inputs of step one.',
    ],
    [
      'that sleeps for no time',
      runbook(step('aws:sleep', {})),
      'Missing "Duration" or "Timestamp" in inputs of step one.',
    ],
    [
      'that gives runCommand an input which it does not know',
      runbook(step('aws:runCommand', { DocumentName: 'x', Colour: 'red' })),
      expect.stringMatching(
        /^Unknown input names provided\. Known=\[ \[DocumentName, .*\] \], Provided=\[ \[DocumentName, Colour\] \]\.$/,
      ),
    ],
    [
      'that sets what is no variable',
      runbook(step('aws:updateVariable', { Name: 'count', Value: 1 })),
      'Invalid "Name" in step one.',
    ],
    ['that goes on nowhere', runbook(pause('one', { nextStep: 'two' })), 'Unknown step name: "two" in nextStep'],
    [
      'that fails to nowhere',
      runbook(pause('one', { onFailure: 'step:two' })),
      'Unknown step name: "two" in onFailure',
    ],
    [
      'that is cancelled to nowhere',
      runbook(pause('one', { onCancel: 'step:x' })),
      'Unknown step name: "x" in onCancel',
    ],
    [
      'that fails in a way of its own',
      runbook(pause('one', { onFailure: 'exit' })),
      'Invalid "onFailure" in step one.',
    ],
    [
      'that ends and goes on',
      runbook(pause('one', { isEnd: true, nextStep: 'two' }), pause('two')),
      '"isEnd == true" and nextStep should not exist in same step.',
    ],
    ['that branches to nowhere', runbook(branch(choice)), 'Unknown step name: "two" in NextStep'],
    ['without choices', runbook(branch()), 'Invalid "Choices" in step one.'],
    [
      'whose choice leads nowhere',
      runbook(branch({ Variable: 'x', StringEquals: 'y' })),
      'Missing "NextStep" in a choice of step one.',
    ],
    [
      'that compares in a way of its own',
      runbook(branch({ NextStep: 'two', Not: { Variable: 'x', Resembles: 'y' } }), pause('two')),
      'Unknown operator: Resembles in step one.',
    ],
    ['whose loop is empty', runbook(loop({ Steps: [] })), 'Invalid "Steps" in step one.'],
    [
      'whose loop has two reasons to go on',
      runbook(loop({ LoopCondition: { Variable: 'x', StringEquals: 'y' } })),
      'Step one must have exactly one of "Iterators" and "LoopCondition".',
    ],
    ['whose loop is too long', runbook(loop({ MaxIterations: 101 })), 'Invalid "MaxIterations" in step one.'],
    [
      'whose loop holds a step that goes nowhere',
      runbook(loop({ Steps: [pause('inner', { nextStep: 'x' })] })),
      'Unknown step name: "x" in nextStep',
    ],
    [
      'that never ends',
      runbook(pause('one'), pause('two', { nextStep: 'three' }), pause('three', { nextStep: 'two' })),
      'Infinite loop detected: two -> three -> two.',
    ],
    [
      'with an output of no type',
      runbook({ ...pause('one'), outputs: [{ Name: 'a', Selector: '$', Type: 'Text' }] }),
      'Output type: "Text" of step one is invalid.',
    ],
    [
      'that puts out what no step has',
      { ...runbook(pause('one')), outputs: ['two.Output'] },
      'Unknown step name in named output: two',
    ],
    [
      'with a parameter that is not declared',
      runbook(step('aws:sleep', { Duration: '{{ long }}' })),
      'Parameter "long" is not declared.',
    ],
    [
      'with a parameter of no type',
      { ...runbook(pause('one')), parameters: { a: { type: 'Text' } } },
      'Parameter type: Text is invalid.',
    ],
  ])('is refused %s', (_, content, message) => {
    expect(complaint(content)).toEqual(message)
  })

  it('may lead back by a branch, and wait where its steps do not tell', () => {
    const back = { ...choice, NextStep: 'one' }
    expect(complaint(runbook(pause('one'), { ...branch(back), name: 'two' }))).toBe('nothing')
    expect(complaint(runbook(pause('one', { nextStep: '{{ global:REGION }}' })))).toBe('nothing')
  })

  it('of a change template names who approves in its own form', () => {
    const approve = step('aws:approve', { EnhancedApprovals: { Approvers: [] } })
    expect(complaint(runbook(approve))).toBe('Missing "Approvers" in inputs of step one.')
    const template = JSON.stringify(runbook(approve))
    expect(parseDocument(template, 'JSON', 'Automation.ChangeTemplate').kind).toBe('automation')
  })
})
