/* The shared state of one node's GPUs: layout, and who may write what.
 *
 * One file, mapped by every process of the node. Constants are written once, before the file gets its
 * name. Everything else is a single 64-bit (or 32-bit) atomic, so a process killed between two
 * instructions leaves a state every reader understands: there is no lock to die holding.
 * layout.py mirrors these structures; a test compares the sizes.
 */
#ifndef INGLE_GPU_STATE_H
#define INGLE_GPU_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define STATE_MAGIC 0x5550474c474e49ULL /* "INGLGPU", little endian */
#define STATE_VERSION 2u
#define MAX_GPUS 16
#define MAX_SLOTS 256
#define MAX_LINKS 36
#define MAX_CLOCKS 32
#define MAX_CPU_WORDS 16
#define SEGMENTS 256
#define NO_ZONE 0xffffffffu

#define LAG_S 0.1 /* time constant of the draw behind its target */

struct pci_address {
  uint32_t domain, bus, device, device_id, subsystem_id;
};

struct link {
  uint32_t type; /* NVML's: 0 GPU, 2 switch, 255 no link */
  struct pci_address remote;
};

/* One piece of the draw's curve: from t_ns on it runs from draw to target with lag LAG_S. Written by
 * whoever holds the ticket, checked by a sum, found by readers from `head`. */
struct segment {
  _Atomic uint64_t ticket, previous, t_ns, draw_bits, target_bits, energy_bits, check;
};

struct gpu {
  /* constants */
  char uuid[80];
  char name[96];
  char serial[32];
  struct pci_address pci;
  uint32_t zone;
  uint64_t memory_total_bytes, memory_reserved_bytes;
  uint32_t idle_mw, min_mw, max_mw, default_mw;
  uint32_t sm_idle_mhz, sm_max_mhz, memory_mhz, clock_count;
  uint32_t sm_clocks_mhz[MAX_CLOCKS]; /* highest first */
  uint32_t ancestor[MAX_GPUS];        /* NVML topology level to each GPU */
  struct link links[MAX_LINKS];
  /* settable */
  _Atomic uint32_t limit_mw;        /* asked for */
  _Atomic uint32_t out_of_band_mw;  /* enforced below the asked one; 0: none */
  _Atomic uint32_t lock_min_mhz, lock_max_mhz; /* 0: not locked */
  _Atomic uint32_t persistence;
  _Atomic uint32_t read_error, write_error; /* NVML codes given to every call, to setters; 0: none */
  uint32_t parent; /* constant: index + 1 of the GPU that this MIG instance is part of; 0: a whole GPU */
  /* draw */
  _Atomic uint64_t head, last_ticket, energy_floor_mj;
  struct segment segments[SEGMENTS];
};

/* What one process holds. `owner` is pid and start time in one word (see slots.c): 0 is free, and an owner
 * that is no longer alive is free too. */
struct slot {
  _Atomic uint64_t owner;
  _Atomic uint64_t memory_bytes[MAX_GPUS];
  _Atomic uint64_t wanted_bytes[MAX_GPUS]; /* counted by other claimants, never shown */
  _Atomic uint64_t busy_mw[MAX_GPUS];
};

struct zone {
  uint64_t memory_bytes;
  uint64_t cpus[MAX_CPU_WORDS];
};

/* `gpus`: whole ones first, then MIG instances; `gpu_count` counts both. */
struct state {
  uint64_t magic;
  uint32_t version, gpu_count, zone_count, slot_count;
  uint64_t size_bytes;
  uint64_t created_ns; /* CLOCK_MONOTONIC */
  char driver_version[80];
  char node[256];
  struct zone zones[MAX_GPUS];
  struct gpu gpus[MAX_GPUS];
  struct slot slots[MAX_SLOTS];
};

/* What a GPU does at one moment. */
struct reading {
  double draw_mw, average_mw; /* now; over the last second */
  double wanted_mw;           /* what the load would draw without a limit */
  double busy_mw;             /* wanted without idle */
  uint64_t energy_mj;
  uint32_t enforced_mw;
};

enum open_result { OPEN_OK, OPEN_MISSING, OPEN_NOT_A_STATE, OPEN_WRONG_VERSION };

/* whole.c: of MIG instances and the GPUs that they are part of */
unsigned whole_count(const struct state *state);
bool is_part(const struct state *state, unsigned gpu, unsigned whole); /* the GPU itself, or an instance of it */
int instance_at(const struct state *state, unsigned whole, unsigned number); /* index; -1: no such instance */

/* slots.c */
uint64_t process_identity(uint32_t pid); /* 0: no such process */
uint32_t identity_pid(uint64_t owner);
uint64_t used_bytes(const struct state *state, unsigned gpu); /* with those of its MIG instances */
double busy_mw(const struct state *state, unsigned gpu);
uint64_t slot_bytes(const struct slot *slot, unsigned gpu, uint64_t *owner);

/* draw.c */
uint64_t now_ns(void);
uint32_t enforced_mw(const struct gpu *gpu);
void read_gpu(struct state *state, unsigned gpu, struct reading *reading);

/* mapping.c */
enum open_result map_state(const char *path, struct state **state);
void unmap_state(struct state *state);

#define EXPORT __attribute__((visibility("default")))

#endif
