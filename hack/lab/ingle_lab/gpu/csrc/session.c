/* Start, stop, error texts, and from names to GPUs. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "nvml.h"

static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER; /* within this process only */
static struct state *_Atomic mapped;
static struct state *retired;
static unsigned users;

struct state *session_state(void) {
  return atomic_load(&mapped);
}

static nvml_return open_from_environment(void) {
  static const char *reasons[] = {[OPEN_MISSING] = "cannot be opened", [OPEN_NOT_A_STATE] = "is not a GPU state file",
                                  [OPEN_WRONG_VERSION] = "has another layout: create it again"};
  const char *path = getenv("INGLE_LAB_GPU_STATE");
  if (path == NULL || *path == '\0') {
    fputs("GPU stand-in: INGLE_LAB_GPU_STATE is not set; give it a node's gpus.state\n", stderr);
    return NVML_DRIVER_NOT_LOADED;
  }
  struct state *state = NULL;
  enum open_result result = map_state(path, &state);
  if (result != OPEN_OK) {
    fprintf(stderr, "GPU stand-in: %s %s (INGLE_LAB_GPU_STATE)\n", path, reasons[result]);
    return NVML_DRIVER_NOT_LOADED;
  }
  atomic_store(&mapped, state);
  return NVML_SUCCESS;
}

EXPORT nvml_return nvmlInitWithFlags(unsigned flags) {
  (void)flags;
  nvml_return result = NVML_SUCCESS;
  pthread_mutex_lock(&starting);
  if (users == 0) result = open_from_environment();
  if (result == NVML_SUCCESS) users++;
  pthread_mutex_unlock(&starting);
  return result;
}

EXPORT nvml_return nvmlInit_v2(void) {
  return nvmlInitWithFlags(0);
}

/* The next start maps the file anew, as a driver that was loaded again. This map stays until the next stop:
 * another thread may be reading in it. */
EXPORT nvml_return nvmlShutdown(void) {
  nvml_return result = NVML_SUCCESS;
  pthread_mutex_lock(&starting);
  if (users == 0) {
    result = NVML_UNINITIALIZED;
  } else if (--users == 0) {
    if (retired != NULL) unmap_state(retired);
    retired = atomic_exchange(&mapped, NULL);
  }
  pthread_mutex_unlock(&starting);
  return result;
}

EXPORT const char *nvmlErrorString(nvml_return code) {
  static const char *texts[] = {
      "Success", "Uninitialized", "Invalid Argument", "Not Supported", "Insufficient Permissions",
      "Already Initialized", "Not Found", "Insufficient Size", "Insufficient External Power", "Driver Not Loaded",
      "Timeout", "Interrupt Request Issue", "NVML Shared Library Not Found", "Function Not Found",
      "Corrupted infoROM", "GPU is lost", "GPU requires restart", "The operating system has blocked the request.",
      "RM has detected an NVML/RM version mismatch.", "In use by another client", "Memory", "No data"};
  if (code == NVML_ARGUMENT_VERSION_MISMATCH) return "Argument version mismatch";
  if (code < 0 || (size_t)code >= sizeof texts / sizeof *texts) return "Unknown Error";
  return texts[code];
}

struct gpu *gpu_of(nvml_device device, unsigned *index, nvml_return *result) {
  struct state *state = session_state();
  uintptr_t number = (uintptr_t)device;
  if (state == NULL) {
    *result = NVML_UNINITIALIZED;
  } else if (number == 0 || number > state->gpu_count) {
    *result = NVML_INVALID_ARGUMENT;
  } else {
    *index = (unsigned)number - 1;
    struct gpu *gpu = &state->gpus[*index];
    const struct gpu *whole = gpu->parent == 0 ? gpu : &state->gpus[gpu->parent - 1];
    *result = (nvml_return)atomic_load(&whole->read_error);
    if (*result == NVML_SUCCESS) return gpu;
  }
  return NULL;
}

struct state *state_of(const struct gpu *gpu, unsigned index) {
  return (struct state *)((char *)(gpu - index) - offsetof(struct state, gpus));
}

nvml_return copy_text(char *to, unsigned size, const char *from) {
  NEED(to != NULL);
  if (strlen(from) >= size) return NVML_INSUFFICIENT_SIZE;
  strcpy(to, from);
  return NVML_SUCCESS;
}

void fill_pci(const struct pci_address *address, nvml_pci_info *info) {
  memset(info, 0, sizeof *info);
  info->domain = address->domain;
  info->bus = address->bus;
  info->device = address->device;
  info->device_id = address->device_id;
  info->subsystem_id = address->subsystem_id;
  snprintf(info->bus_id_legacy, sizeof info->bus_id_legacy, "%04X:%02X:%02X.0", address->domain & 0xffff,
           address->bus & 0xff, address->device & 0xff);
  snprintf(info->bus_id, sizeof info->bus_id, "%08X:%02X:%02X.0", address->domain, address->bus & 0xff,
           address->device & 0xff);
}

/* A lost GPU keeps its place in the count, but its handle is refused with its error, as NVML does. */
static nvml_return give_handle(unsigned number, nvml_device *device) {
  NEED(device != NULL);
  nvml_device handle = (nvml_device)(uintptr_t)(number + 1);
  GPU_OR_RETURN(handle);
  *device = handle;
  return NVML_SUCCESS;
}

EXPORT nvml_return nvmlDeviceGetCount_v2(unsigned *count) {
  struct state *state = session_state();
  if (state == NULL) return NVML_UNINITIALIZED;
  NEED(count != NULL);
  *count = whole_count(state);
  return NVML_SUCCESS;
}

EXPORT nvml_return nvmlDeviceGetHandleByIndex_v2(unsigned index, nvml_device *device) {
  struct state *state = session_state();
  if (state == NULL) return NVML_UNINITIALIZED;
  NEED(index < whole_count(state));
  return give_handle(index, device);
}

EXPORT nvml_return nvmlDeviceGetHandleByUUID(const char *uuid, nvml_device *device) {
  struct state *state = session_state();
  if (state == NULL) return NVML_UNINITIALIZED;
  NEED(uuid != NULL);
  for (unsigned i = 0; i < state->gpu_count; i++)
    if (strcmp(state->gpus[i].uuid, uuid) == 0) return give_handle(i, device);
  return NVML_NOT_FOUND;
}

EXPORT nvml_return nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, nvml_device *device) {
  struct state *state = session_state();
  if (state == NULL) return NVML_UNINITIALIZED;
  NEED(bus_id != NULL);
  for (unsigned i = 0; i < whole_count(state); i++) {
    nvml_pci_info info;
    fill_pci(&state->gpus[i].pci, &info);
    if (strcasecmp(info.bus_id, bus_id) == 0 || strcasecmp(info.bus_id_legacy, bus_id) == 0)
      return give_handle(i, device);
  }
  return NVML_NOT_FOUND;
}

EXPORT nvml_return nvmlSystemGetDriverVersion(char *version, unsigned length) {
  struct state *state = session_state();
  if (state == NULL) return NVML_UNINITIALIZED;
  return copy_text(version, length, state->driver_version);
}

EXPORT nvml_return nvmlSystemGetNVMLVersion(char *version, unsigned length) {
  struct state *state = session_state();
  if (state == NULL) return NVML_UNINITIALIZED;
  char text[96];
  snprintf(text, sizeof text, "12.%s", state->driver_version);
  return copy_text(version, length, text);
}
