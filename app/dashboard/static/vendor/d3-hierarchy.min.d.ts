// The script defines the global `d3`; see scripts/typescript/globals.d.ts.
export {};
