/** For contract tests: what a refused request was answered, as a client sees it. */
export async function refusal(request: Promise<unknown>): Promise<{ name: string; message: string }> {
  try {
    await request
  } catch (error) {
    if (error instanceof Error && '$metadata' in error) return { name: error.name, message: error.message }
    throw error
  }
  throw new Error('the request was not refused')
}
