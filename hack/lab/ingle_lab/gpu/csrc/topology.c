/* Where a GPU sits and whom it is linked to. */
#include <stddef.h>

#include "nvml.h"

#define SCOPE_SOCKET 1
#define LEVEL_NODE 40
#define LINK_NONE 255

static nvml_return give_mask(unsigned words, unsigned long *to, const uint64_t *from, unsigned known) {
  for (unsigned i = 0; i < words; i++) to[i] = i < known ? from[i] : 0;
  return NVML_SUCCESS;
}

/* Node and socket are the same here: a zone of the profile. */
EXPORT nvml_return nvmlDeviceGetMemoryAffinity(nvml_device device, unsigned words, unsigned long *nodes,
                                               unsigned scope) {
  GPU_OR_RETURN(device);
  NEED(words > 0 && nodes != NULL && scope <= SCOPE_SOCKET);
  if (gpu->zone == NO_ZONE) return NVML_NOT_SUPPORTED;
  uint64_t mask = 1ULL << gpu->zone;
  return give_mask(words, nodes, &mask, 1);
}

EXPORT nvml_return nvmlDeviceGetCpuAffinityWithinScope(nvml_device device, unsigned words, unsigned long *cpus,
                                                       unsigned scope) {
  GPU_OR_RETURN(device);
  NEED(words > 0 && cpus != NULL && scope <= SCOPE_SOCKET);
  if (gpu->zone == NO_ZONE) return NVML_NOT_SUPPORTED;
  return give_mask(words, cpus, state_of(gpu, index)->zones[gpu->zone].cpus, MAX_CPU_WORDS);
}

EXPORT nvml_return nvmlDeviceGetCpuAffinity(nvml_device device, unsigned words, unsigned long *cpus) {
  return nvmlDeviceGetCpuAffinityWithinScope(device, words, cpus, SCOPE_SOCKET);
}

/* Only for machines whose GPUs are NUMA nodes themselves. */
EXPORT nvml_return nvmlDeviceGetNumaNodeId(nvml_device device, unsigned *node) {
  GPU_OR_RETURN(device);
  (void)node;
  return NVML_NOT_SUPPORTED;
}

EXPORT nvml_return nvmlDeviceGetTopologyCommonAncestor(nvml_device device, nvml_device other, unsigned *level) {
  unsigned second;
  nvml_return result;
  GPU_OR_RETURN(device);
  if (gpu_of(other, &second, &result) == NULL) return result;
  NEED(level != NULL);
  *level = gpu->ancestor[second];
  return NVML_SUCCESS;
}

/* Links through a switch lead to every GPU that has such links too. */
static bool linked(const struct gpu *a, const struct gpu *b) {
  for (unsigned i = 0; i < MAX_LINKS; i++) {
    if (a->links[i].type == 2 && b->links[0].type == 2) return true;
    if (a->links[i].type == 0 && a->links[i].remote.bus == b->pci.bus && a->links[i].remote.domain == b->pci.domain)
      return true;
  }
  return false;
}

EXPORT nvml_return nvmlDeviceGetP2PStatus(nvml_device device, nvml_device other, unsigned what, unsigned *status) {
  unsigned second;
  nvml_return result;
  GPU_OR_RETURN(device);
  const struct gpu *peer = gpu_of(other, &second, &result);
  if (peer == NULL) return result;
  NEED(what <= 4 && status != NULL && index != second);
  bool near = gpu->ancestor[second] <= LEVEL_NODE, wired = linked(gpu, peer);
  if (what == 2)
    *status = wired ? 0 : 5; /* NVLink: OK or not supported */
  else
    *status = wired || near ? 0 : 3; /* OK, or the way crosses sockets */
  return NVML_SUCCESS;
}

static const struct link *link_of(const struct gpu *gpu, unsigned number, nvml_return *result) {
  if (number >= MAX_LINKS)
    *result = NVML_INVALID_ARGUMENT;
  else if (gpu->links[number].type == LINK_NONE)
    *result = NVML_NOT_SUPPORTED;
  else
    return &gpu->links[number];
  return NULL;
}

EXPORT nvml_return nvmlDeviceGetNvLinkState(nvml_device device, unsigned number, unsigned *active) {
  nvml_return result;
  WHOLE_OR_RETURN(device);
  if (link_of(gpu, number, &result) == NULL) return result;
  NEED(active != NULL);
  *active = 1;
  return NVML_SUCCESS;
}

EXPORT nvml_return nvmlDeviceGetNvLinkRemoteDeviceType(nvml_device device, unsigned number, unsigned *type) {
  nvml_return result;
  WHOLE_OR_RETURN(device);
  const struct link *link = link_of(gpu, number, &result);
  if (link == NULL) return result;
  NEED(type != NULL);
  *type = link->type;
  return NVML_SUCCESS;
}

EXPORT nvml_return nvmlDeviceGetNvLinkRemotePciInfo_v2(nvml_device device, unsigned number, nvml_pci_info *info) {
  nvml_return result;
  WHOLE_OR_RETURN(device);
  const struct link *link = link_of(gpu, number, &result);
  if (link == NULL) return result;
  NEED(info != NULL);
  fill_pci(&link->remote, info);
  return NVML_SUCCESS;
}
