/* GPUs and the MIG instances that are part of them. */
#include "state.h"

unsigned whole_count(const struct state *state) {
  unsigned count = 0;
  while (count < state->gpu_count && state->gpus[count].parent == 0) count++;
  return count;
}

bool is_part(const struct state *state, unsigned gpu, unsigned whole) {
  return gpu == whole || state->gpus[gpu].parent == whole + 1;
}

int instance_at(const struct state *state, unsigned whole, unsigned number) {
  for (unsigned i = whole_count(state); i < state->gpu_count; i++)
    if (state->gpus[i].parent == whole + 1 && number-- == 0) return (int)i;
  return -1;
}
