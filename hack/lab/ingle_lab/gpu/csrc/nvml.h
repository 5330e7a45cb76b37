/* The part of NVML's C interface that the stand-in speaks, laid out as nvidia-ml-py lays it out. */
#ifndef INGLE_GPU_NVML_H
#define INGLE_GPU_NVML_H

#include "state.h"

enum {
  NVML_SUCCESS = 0,
  NVML_UNINITIALIZED = 1,
  NVML_INVALID_ARGUMENT = 2,
  NVML_NOT_SUPPORTED = 3,
  NVML_NO_PERMISSION = 4,
  NVML_NOT_FOUND = 6,
  NVML_INSUFFICIENT_SIZE = 7,
  NVML_DRIVER_NOT_LOADED = 9,
  NVML_GPU_IS_LOST = 15,
  NVML_ARGUMENT_VERSION_MISMATCH = 25,
};

typedef int nvml_return;
typedef void *nvml_device; /* GPU index + 1 */

typedef struct {
  char bus_id_legacy[16];
  unsigned domain, bus, device, device_id, subsystem_id;
  char bus_id[32];
} nvml_pci_info;

typedef struct {
  unsigned long long total, free, used;
} nvml_memory;

typedef struct {
  unsigned version;
  unsigned long long total, reserved, free, used;
} nvml_memory_v2;

typedef struct {
  unsigned pid;
  unsigned long long used_memory;
  unsigned gpu_instance, compute_instance;
} nvml_process;

typedef struct {
  unsigned gpu, memory;
} nvml_utilization;

typedef struct {
  unsigned version, sensor;
  int celsius;
} nvml_temperature;

typedef struct {
  uint32_t field, scope;
  int64_t timestamp_us, latency_us;
  unsigned value_type;
  nvml_return result;
  union {
    double as_double;
    unsigned as_unsigned;
    unsigned long long as_unsigned_long_long;
  } value;
} nvml_field;

/* session.c: NULL with *result set when there is no such GPU, it has an injected error, or NVML is not
 * initialised */
struct state *session_state(void);
struct gpu *gpu_of(nvml_device device, unsigned *index, nvml_return *result);
struct state *state_of(const struct gpu *gpu, unsigned index); /* also when another thread just shut down */
nvml_return copy_text(char *to, unsigned size, const char *from);
void fill_pci(const struct pci_address *address, nvml_pci_info *info);

#define GPU_OR_RETURN(device)                             \
  unsigned index = 0;                                     \
  nvml_return result_ = NVML_SUCCESS;                     \
  struct gpu *gpu = gpu_of((device), &index, &result_);   \
  if (gpu == NULL) return result_;                        \
  (void)index

/* What a MIG instance does not have: watts, clocks, links. */
#define WHOLE_OR_RETURN(device) \
  GPU_OR_RETURN(device);        \
  if (gpu->parent != 0) return NVML_NOT_SUPPORTED

#define NEED(condition) \
  if (!(condition)) return NVML_INVALID_ARGUMENT

#endif
