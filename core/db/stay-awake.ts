/** Runs `work` with the event loop held open: the clock's timers and a detached child do not hold it. */
export async function stayAwake<T>(work: () => Promise<T>): Promise<T> {
  const { port1 } = new MessageChannel()
  port1.ref()
  port1.onmessage = () => {} // a port without a listener does not count
  try {
    return await work()
  } finally {
    port1.close()
  }
}
