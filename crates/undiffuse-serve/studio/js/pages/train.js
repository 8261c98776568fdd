// Trainings: all runs, one run, two runs over each other.

import { compare } from "./train/compare.js";
import { list } from "./train/list.js";
import { one } from "./train/run.js";

export const title = "Train";

/** `#/train`, `#/train/RUN`, `#/train/RUN/OTHER`. */
export const page = (root, run, other) => (other ? compare(root, run, other) : run ? one(root, run) : list(root));
