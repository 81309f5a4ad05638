/** Makes a value once per object, and forgets it with the object. A failure is not remembered. */
export function oncePer<Key extends object, Value>(make: (key: Key) => Value): (key: Key) => Value {
  const made = new WeakMap<Key, { value: Value }>();
  return (key) => {
    const known = made.get(key) ?? { value: make(key) };
    made.set(key, known);
    return known.value;
  };
}

/** Makes a value once per name, for as long as the isolate lives. */
export function oncePerName<Value>(): (name: string, make: () => Value) => Value {
  const made = new Map<string, { value: Value }>();
  return (name, make) => {
    const known = made.get(name) ?? { value: make() };
    made.set(name, known);
    return known.value;
  };
}
