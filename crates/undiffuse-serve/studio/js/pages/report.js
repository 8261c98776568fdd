// Evaluation reports: all of them, one, two side by side.

import { compare } from "./report/compare.js";
import { list } from "./report/list.js";
import { one } from "./report/one.js";

export const title = "Report";

/** `#/report`, `#/report/A`, `#/report/A/B`. */
export const page = (root, a, b) => (b ? compare(root, a, b) : a ? one(root, a) : list(root));
