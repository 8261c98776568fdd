export function reverse(root) { return () => {}; }
