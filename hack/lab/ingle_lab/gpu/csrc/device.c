/* What a GPU is, what it holds and who holds it. */
#include <stdio.h>
#include <string.h>

#include "nvml.h"

EXPORT nvml_return nvmlDeviceGetName(nvml_device device, char *name, unsigned length) {
  GPU_OR_RETURN(device);
  return copy_text(name, length, gpu->name);
}

EXPORT nvml_return nvmlDeviceGetUUID(nvml_device device, char *uuid, unsigned length) {
  GPU_OR_RETURN(device);
  return copy_text(uuid, length, gpu->uuid);
}

EXPORT nvml_return nvmlDeviceGetSerial(nvml_device device, char *serial, unsigned length) {
  GPU_OR_RETURN(device);
  return copy_text(serial, length, gpu->serial);
}

EXPORT nvml_return nvmlDeviceGetIndex(nvml_device device, unsigned *number) {
  GPU_OR_RETURN(device);
  NEED(number != NULL);
  *number = index;
  return NVML_SUCCESS;
}

EXPORT nvml_return nvmlDeviceGetMinorNumber(nvml_device device, unsigned *number) {
  return nvmlDeviceGetIndex(device, number);
}

EXPORT nvml_return nvmlDeviceGetPciInfo_v3(nvml_device device, nvml_pci_info *info) {
  GPU_OR_RETURN(device);
  NEED(info != NULL);
  fill_pci(&gpu->pci, info);
  return NVML_SUCCESS;
}

static uint64_t shown_used_bytes(const struct gpu *gpu, unsigned index) {
  uint64_t used = used_bytes(state_of(gpu, index), index), most = gpu->memory_total_bytes - gpu->memory_reserved_bytes;
  return used < most ? used : most;
}

/* v1 counts the driver's reserve as used, v2 does not. */
EXPORT nvml_return nvmlDeviceGetMemoryInfo(nvml_device device, nvml_memory *memory) {
  GPU_OR_RETURN(device);
  NEED(memory != NULL);
  memory->total = gpu->memory_total_bytes;
  memory->used = shown_used_bytes(gpu, index) + gpu->memory_reserved_bytes;
  memory->free = memory->total - memory->used;
  return NVML_SUCCESS;
}

EXPORT nvml_return nvmlDeviceGetMemoryInfo_v2(nvml_device device, nvml_memory_v2 *memory) {
  GPU_OR_RETURN(device);
  NEED(memory != NULL);
  if (memory->version != (sizeof *memory | 2u << 24)) return NVML_ARGUMENT_VERSION_MISMATCH;
  memory->total = gpu->memory_total_bytes;
  memory->reserved = gpu->memory_reserved_bytes;
  memory->used = shown_used_bytes(gpu, index);
  memory->free = memory->total - memory->reserved - memory->used;
  return NVML_SUCCESS;
}

/* Slots of one process are one entry; a GPU shows the processes of its MIG instances. */
static unsigned collect(const struct state *state, unsigned index, nvml_process *found) {
  unsigned count = 0;
  for (unsigned cell = 0; cell < state->slot_count * state->gpu_count; cell++) {
    unsigned i = cell % state->slot_count, part = cell / state->slot_count;
    if (!is_part(state, part, index)) continue;
    uint64_t owner, bytes = slot_bytes(&state->slots[i], part, &owner);
    if (bytes == 0) continue;
    unsigned pid = identity_pid(owner), at = 0;
    while (at < count && found[at].pid != pid) at++;
    if (at == count)
      found[count++] =
          (nvml_process){.pid = pid, .gpu_instance = 0xffffffffu, .compute_instance = 0xffffffffu};
    found[at].used_memory += bytes;
  }
  return count;
}

EXPORT nvml_return nvmlDeviceGetComputeRunningProcesses_v3(nvml_device device, unsigned *count,
                                                           nvml_process *processes) {
  GPU_OR_RETURN(device);
  NEED(count != NULL);
  nvml_process found[MAX_SLOTS];
  unsigned room = *count;
  *count = collect(state_of(gpu, index), index, found);
  if (*count == 0) return NVML_SUCCESS;
  if (processes == NULL || room < *count) return NVML_INSUFFICIENT_SIZE;
  memcpy(processes, found, *count * sizeof *found);
  return NVML_SUCCESS;
}

EXPORT nvml_return nvmlDeviceGetGraphicsRunningProcesses_v3(nvml_device device, unsigned *count,
                                                            nvml_process *processes) {
  GPU_OR_RETURN(device);
  NEED(count != NULL);
  (void)processes;
  *count = 0;
  return NVML_SUCCESS;
}

EXPORT nvml_return nvmlDeviceGetPersistenceMode(nvml_device device, unsigned *mode) {
  GPU_OR_RETURN(device);
  NEED(mode != NULL);
  *mode = atomic_load(&gpu->persistence);
  return NVML_SUCCESS;
}

EXPORT nvml_return nvmlDeviceSetPersistenceMode(nvml_device device, unsigned mode) {
  GPU_OR_RETURN(device);
  if (atomic_load(&gpu->write_error)) return (nvml_return)atomic_load(&gpu->write_error);
  NEED(mode <= 1);
  atomic_store(&gpu->persistence, mode);
  return NVML_SUCCESS;
}

#define MOST_INSTANCES 7

/* A GPU is in MIG mode where the profile splits it. */
static bool is_split(const struct gpu *gpu, unsigned index) {
  return instance_at(state_of(gpu, index), index, 0) >= 0;
}

EXPORT nvml_return nvmlDeviceGetMigMode(nvml_device device, unsigned *current, unsigned *pending) {
  WHOLE_OR_RETURN(device);
  NEED(current != NULL && pending != NULL);
  if (!is_split(gpu, index)) return NVML_NOT_SUPPORTED;
  *current = *pending = 1;
  return NVML_SUCCESS;
}

EXPORT nvml_return nvmlDeviceGetMaxMigDeviceCount(nvml_device device, unsigned *count) {
  WHOLE_OR_RETURN(device);
  NEED(count != NULL);
  *count = is_split(gpu, index) ? MOST_INSTANCES : 0;
  return NVML_SUCCESS;
}

EXPORT nvml_return nvmlDeviceGetMigDeviceHandleByIndex(nvml_device device, unsigned number, nvml_device *mig) {
  WHOLE_OR_RETURN(device);
  NEED(mig != NULL);
  if (!is_split(gpu, index)) return NVML_NOT_SUPPORTED;
  int found = instance_at(state_of(gpu, index), index, number);
  if (found < 0) return NVML_NOT_FOUND;
  *mig = (nvml_device)(uintptr_t)(found + 1);
  return NVML_SUCCESS;
}

EXPORT nvml_return nvmlDeviceIsMigDeviceHandle(nvml_device device, unsigned *is_mig) {
  GPU_OR_RETURN(device);
  NEED(is_mig != NULL);
  *is_mig = gpu->parent != 0;
  return NVML_SUCCESS;
}

EXPORT nvml_return nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvml_device mig, nvml_device *device) {
  GPU_OR_RETURN(mig);
  NEED(device != NULL && gpu->parent != 0);
  *device = (nvml_device)(uintptr_t)gpu->parent;
  return NVML_SUCCESS;
}
