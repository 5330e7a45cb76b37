/* Process slots: who holds how much memory and draws how much. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "state.h"

/* owner = pid (22 bits, Linux's largest) | start time in clock ticks since boot (41 bits) | claiming (1 bit).
 * One word, so that claiming a slot is one compare-and-swap. */
#define CLAIMING 1ULL
#define START_BITS 41
#define START_MASK ((1ULL << START_BITS) - 1)

static uint64_t make_identity(uint32_t pid, uint64_t start) {
  return ((uint64_t)pid << (START_BITS + 1)) | ((start & START_MASK) << 1);
}

uint32_t identity_pid(uint64_t owner) {
  return (uint32_t)(owner >> (START_BITS + 1));
}

/* A zombie has given its GPU back, so it counts as gone. Anything but "no such process" that keeps us from
 * looking (no file descriptors left) is not proof of death: `unsure` is returned then. */
static uint64_t identity_or(uint32_t pid, uint64_t unsure) {
  char path[32], text[1024];
  snprintf(path, sizeof path, "/proc/%u/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT || errno == ESRCH ? 0 : unsure;
  ssize_t length = read(fd, text, sizeof text - 1);
  int error = errno;
  close(fd);
  if (length < 0 && error != ESRCH) return unsure;
  if (length <= 0) return 0;
  text[length] = '\0';
  char *rest = strrchr(text, ')'); /* the name may hold anything, also spaces and brackets */
  if (rest == NULL || rest[1] != ' ') return unsure;
  rest += 2;
  if (*rest == 'Z' || *rest == 'X' || *rest == 'x') return 0;
  for (int field = 3; field < 22; field++) {
    rest = strchr(rest, ' ');
    if (rest == NULL) return unsure;
    rest++;
  }
  return make_identity(pid, strtoull(rest, NULL, 10));
}

uint64_t process_identity(uint32_t pid) {
  return identity_or(pid, 0);
}

static bool alive(uint64_t owner) {
  if (owner == 0) return false;
  uint64_t identity = owner & ~CLAIMING;
  return identity_or(identity_pid(owner), identity) == identity;
}

/* One cell of a slot together with its owner; 0 for a slot nobody holds or somebody is just claiming. */
static uint64_t owned_cell(const struct slot *slot, const _Atomic uint64_t *cell, uint64_t *owner) {
  for (int attempt = 0; attempt < 4; attempt++) {
    uint64_t before = atomic_load(&slot->owner);
    if (before == 0 || (before & CLAIMING)) break;
    uint64_t value = atomic_load(cell);
    if (atomic_load(&slot->owner) != before) continue;
    *owner = before;
    return value;
  }
  *owner = 0;
  return 0;
}

uint64_t slot_bytes(const struct slot *slot, unsigned gpu, uint64_t *owner) {
  uint64_t bytes = owned_cell(slot, &slot->memory_bytes[gpu], owner);
  if (bytes != 0 && !alive(*owner)) {
    *owner = 0;
    return 0;
  }
  return bytes;
}

/* Sum of a GPU's cells, and a sum over who holds what, by which two looks can be compared. */
static uint64_t look(const struct state *state, unsigned gpu, uint64_t *seen) {
  uint64_t sum = 0, owner;
  *seen = 0;
  for (unsigned part = gpu; part < state->gpu_count; part++)
    for (unsigned i = 0; is_part(state, part, gpu) && i < state->slot_count; i++) {
      uint64_t bytes = slot_bytes(&state->slots[i], part, &owner);
      if (bytes != 0) *seen = (*seen ^ bytes ^ owner ^ ((uint64_t)part << 32 | i)) * 0x100000001b3ULL;
      sum += bytes;
    }
  return sum;
}

/* Looks until two in a row agree: bytes that move from one process to another in the middle of a look would count
 * twice. Gives the least seen where they never agree. */
uint64_t used_bytes(const struct state *state, unsigned gpu) {
  uint64_t before, seen, least = look(state, gpu, &before);
  for (int attempt = 0; attempt < 16; attempt++) {
    uint64_t sum = look(state, gpu, &seen);
    if (seen == before) return sum;
    before = seen;
    if (sum < least) least = sum;
  }
  return least;
}

static double own_busy_mw(const struct state *state, unsigned gpu) {
  double sum = 0;
  for (unsigned i = 0; i < state->slot_count; i++) {
    uint64_t owner;
    const struct slot *slot = &state->slots[i];
    uint64_t mw = owned_cell(slot, &slot->busy_mw[gpu], &owner);
    if (mw != 0 && alive(owner)) sum += (double)mw;
  }
  return sum;
}

double busy_mw(const struct state *state, unsigned gpu) {
  double sum = 0;
  for (unsigned part = gpu; part < state->gpu_count; part++)
    if (is_part(state, part, gpu)) sum += own_busy_mw(state, part);
  return sum;
}

/* What claimants must leave room for: held bytes, or wanted ones where those are more. Wanted is read first:
 * a claimant stores `memory` before it clears `wanted`, so one of the two is always seen. */
static uint64_t charged_bytes(const struct state *state, unsigned gpu) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < state->slot_count; i++) {
    const struct slot *slot = &state->slots[i];
    uint64_t owner, later;
    uint64_t wanted = owned_cell(slot, &slot->wanted_bytes[gpu], &owner);
    uint64_t held = owned_cell(slot, &slot->memory_bytes[gpu], &later);
    uint64_t charged = wanted > held ? wanted : held;
    if (charged != 0 && (alive(later) || alive(owner))) sum += charged;
  }
  return sum;
}

static void clear_cells(struct slot *slot) {
  for (unsigned gpu = 0; gpu < MAX_GPUS; gpu++) {
    atomic_store(&slot->memory_bytes[gpu], 0);
    atomic_store(&slot->wanted_bytes[gpu], 0);
    atomic_store(&slot->busy_mw[gpu], 0);
  }
}

/* Takes a free or dead slot for process `pid`. Returns its number, -1 when all are taken, -2 when the
 * process is gone. The claiming mark keeps a dead owner's bytes from showing up as ours. */
EXPORT int ingle_lab_gpu_claim(struct state *state, uint32_t pid, uint64_t *owner) {
  uint64_t mine = process_identity(pid);
  if (mine == 0) return -2;
  for (unsigned i = 0; i < state->slot_count; i++) {
    struct slot *slot = &state->slots[i];
    uint64_t seen = atomic_load(&slot->owner);
    if (seen != 0 && alive(seen)) continue;
    if (!atomic_compare_exchange_strong(&slot->owner, &seen, mine | CLAIMING)) continue;
    clear_cells(slot);
    atomic_store(&slot->owner, mine);
    *owner = mine;
    return (int)i;
  }
  return -1;
}

static uint64_t capacity_bytes(const struct gpu *gpu) {
  return gpu->memory_total_bytes - gpu->memory_reserved_bytes;
}

/* The first GPU of `mask` that charges exceed, or -1. */
static int overfull(const struct state *state, uint32_t mask) {
  for (unsigned gpu = 0; gpu < state->gpu_count; gpu++)
    if ((mask >> gpu & 1) && charged_bytes(state, gpu) > capacity_bytes(&state->gpus[gpu])) return (int)gpu;
  return -1;
}

static void set_cells(_Atomic uint64_t *cells, uint32_t mask, uint64_t value) {
  for (unsigned gpu = 0; gpu < MAX_GPUS; gpu++)
    if (mask >> gpu & 1) atomic_store(&cells[gpu], value);
}

static void back_off(unsigned slot, int attempt) {
  /* different slots wait differently long, so one of two racers comes back alone */
  long micros = 100 + 150 * (long)(slot % 32) * (attempt + 1);
  nanosleep(&(struct timespec){.tv_nsec = micros * 1000}, NULL);
}

/* Holds `bytes` on each GPU of `mask` in place of what the slot held there. Returns -1 when done, else the GPU
 * that has no room (nothing changed then). Of racers for the last bytes at most one gets them: each
 * publishes its wish before it adds up all wishes. */
EXPORT int ingle_lab_gpu_hold(struct state *state, unsigned index, uint32_t mask, uint64_t bytes) {
  struct slot *slot = &state->slots[index];
  uint32_t growing = 0; /* giving back never fails */
  for (unsigned gpu = 0; gpu < state->gpu_count; gpu++)
    if ((mask >> gpu & 1) && bytes > atomic_load(&slot->memory_bytes[gpu])) growing |= 1u << gpu;
  int full = -1;
  for (int attempt = 0; attempt < 6; attempt++) {
    if (attempt > 0) back_off(index, attempt);
    set_cells(slot->wanted_bytes, mask, bytes);
    full = overfull(state, growing);
    if (full < 0) set_cells(slot->memory_bytes, mask, bytes);
    set_cells(slot->wanted_bytes, mask, 0);
    if (full < 0) return -1;
  }
  return full;
}

/* Draws `mw` more than idle on each GPU of `mask`, from now on. */
EXPORT void ingle_lab_gpu_draw(struct state *state, unsigned index, uint32_t mask, uint64_t mw) {
  struct reading reading;
  set_cells(state->slots[index].busy_mw, mask, mw);
  for (unsigned gpu = 0; gpu < state->gpu_count; gpu++)
    if (mask >> gpu & 1) mask |= state->gpus[gpu].parent ? 1u << (state->gpus[gpu].parent - 1) : 0; /* watts are its */
  for (unsigned gpu = 0; gpu < state->gpu_count; gpu++)
    if (mask >> gpu & 1) read_gpu(state, gpu, &reading); /* starts the new piece of the curve at this moment */
}

/* Gives the slot back; does nothing when `owner` no longer holds it. */
EXPORT void ingle_lab_gpu_release(struct state *state, unsigned index, uint64_t owner) {
  if (!atomic_compare_exchange_strong(&state->slots[index].owner, &owner, 0)) return;
  struct reading reading;
  for (unsigned gpu = 0; gpu < state->gpu_count; gpu++) read_gpu(state, gpu, &reading);
}

EXPORT uint64_t ingle_lab_gpu_used(const struct state *state, unsigned gpu) {
  return used_bytes(state, gpu);
}

EXPORT void ingle_lab_gpu_read(struct state *state, unsigned gpu, struct reading *reading) {
  read_gpu(state, gpu, reading);
}

EXPORT int ingle_lab_gpu_open(const char *path, struct state **state) {
  return map_state(path, state);
}

EXPORT void ingle_lab_gpu_close(struct state *state) {
  unmap_state(state);
}

/* Sizes and version, so that the Python side can refuse a library of another layout. */
EXPORT uint64_t ingle_lab_gpu_layout(unsigned what) {
  const uint64_t sizes[] = {STATE_VERSION, sizeof(struct state), sizeof(struct gpu), sizeof(struct slot),
                            sizeof(struct segment), sizeof(struct reading)};
  return what < sizeof sizes / sizeof *sizes ? sizes[what] : 0;
}
