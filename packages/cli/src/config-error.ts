/** What is wrong with what a person said, in one line for them: main.ts shows it without a stack. */
export class ConfigError extends Error {}
