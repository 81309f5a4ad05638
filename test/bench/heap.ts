type Message = { id?: number; result?: { usedSize: number } };

/**
 * Bytes of a Worker in the runtime's JavaScript heap after a garbage collection, which the platform's limit of an isolate
 * counts. Read over the Chrome DevTools protocol.
 */
export async function heapBytes(inspectorPort: number, worker: string): Promise<number> {
  const targets = (await (await fetch(`http://127.0.0.1:${inspectorPort}/json`)).json()) as {
    id: string;
    webSocketDebuggerUrl: string;
  }[];
  const target = targets.find(({ id }) => id === `core:user:${worker}`);
  if (target === undefined) throw new Error(`The runtime has no Worker ${worker}`);
  const socket = new WebSocket(target.webSocketDebuggerUrl);
  await new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve);
    socket.addEventListener("error", reject);
  });
  const call = (id: number, method: string) =>
    new Promise<Message>((resolve) => {
      socket.addEventListener("message", ({ data }) => {
        const message = JSON.parse(String(data)) as Message;
        if (message.id === id) resolve(message);
      });
      socket.send(JSON.stringify({ id, method }));
    });
  await call(1, "HeapProfiler.enable");
  await call(2, "HeapProfiler.collectGarbage");
  const { result } = await call(3, "Runtime.getHeapUsage");
  socket.close();
  return result?.usedSize ?? Number.NaN;
}
