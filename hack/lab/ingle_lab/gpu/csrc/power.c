/* Watts, joules, limits, clocks and what follows from them. */
#include <math.h>
#include <stddef.h>

#include "nvml.h"

static nvml_return give(unsigned *to, double value) {
  NEED(to != NULL);
  *to = (unsigned)lround(value);
  return NVML_SUCCESS;
}

/* The mean of the last second, as on GPUs since Ampere. */
EXPORT nvml_return nvmlDeviceGetPowerUsage(nvml_device device, unsigned *mw) {
  WHOLE_OR_RETURN(device);
  struct reading reading;
  read_gpu(state_of(gpu, index), index, &reading);
  return give(mw, reading.average_mw);
}

EXPORT nvml_return nvmlDeviceGetTotalEnergyConsumption(nvml_device device, unsigned long long *mj) {
  WHOLE_OR_RETURN(device);
  NEED(mj != NULL);
  struct reading reading;
  read_gpu(state_of(gpu, index), index, &reading);
  *mj = reading.energy_mj;
  return NVML_SUCCESS;
}

EXPORT nvml_return nvmlDeviceGetPowerManagementMode(nvml_device device, unsigned *mode) {
  WHOLE_OR_RETURN(device);
  return give(mode, 1);
}

EXPORT nvml_return nvmlDeviceGetPowerManagementLimit(nvml_device device, unsigned *mw) {
  WHOLE_OR_RETURN(device);
  return give(mw, atomic_load(&gpu->limit_mw));
}

EXPORT nvml_return nvmlDeviceGetEnforcedPowerLimit(nvml_device device, unsigned *mw) {
  WHOLE_OR_RETURN(device);
  return give(mw, enforced_mw(gpu));
}

EXPORT nvml_return nvmlDeviceGetPowerManagementDefaultLimit(nvml_device device, unsigned *mw) {
  WHOLE_OR_RETURN(device);
  return give(mw, gpu->default_mw);
}

EXPORT nvml_return nvmlDeviceGetPowerManagementLimitConstraints(nvml_device device, unsigned *min_mw,
                                                                unsigned *max_mw) {
  WHOLE_OR_RETURN(device);
  NEED(min_mw != NULL && max_mw != NULL);
  *min_mw = gpu->min_mw;
  *max_mw = gpu->max_mw;
  return NVML_SUCCESS;
}

/* Starts a new piece of the curve at the moment of a change, so that it is not dated to the next reading. */
static nvml_return changed(struct gpu *gpu, unsigned index) {
  struct reading reading;
  read_gpu(state_of(gpu, index), index, &reading);
  return NVML_SUCCESS;
}

EXPORT nvml_return nvmlDeviceSetPowerManagementLimit(nvml_device device, unsigned mw) {
  WHOLE_OR_RETURN(device);
  if (atomic_load(&gpu->write_error)) return (nvml_return)atomic_load(&gpu->write_error);
  NEED(mw >= gpu->min_mw && mw <= gpu->max_mw);
  atomic_store(&gpu->limit_mw, mw);
  return changed(gpu, index);
}

static unsigned sm_mhz(const struct gpu *gpu, const struct reading *reading) {
  if (reading->busy_mw < 1) return gpu->sm_idle_mhz;
  uint32_t low = atomic_load(&gpu->lock_min_mhz), high = atomic_load(&gpu->lock_max_mhz);
  double mhz = high != 0 && high < gpu->sm_max_mhz ? high : gpu->sm_max_mhz;
  if (reading->wanted_mw > reading->enforced_mw) {
    double share = ((double)reading->enforced_mw - gpu->idle_mw) / reading->busy_mw;
    mhz *= share > 0 ? share : 0;
  }
  double floor = low > gpu->sm_idle_mhz ? low : gpu->sm_idle_mhz;
  return (unsigned)lround(mhz > floor ? mhz : floor);
}

static nvml_return give_clock(struct gpu *gpu, unsigned index, unsigned type, unsigned *mhz) {
  struct reading reading;
  if (type == 2) return give(mhz, gpu->memory_mhz);
  if (type > 1) return NVML_NOT_SUPPORTED; /* 0 graphics, 1 SM: one domain */
  read_gpu(state_of(gpu, index), index, &reading);
  return give(mhz, sm_mhz(gpu, &reading));
}

EXPORT nvml_return nvmlDeviceGetClockInfo(nvml_device device, unsigned type, unsigned *mhz) {
  WHOLE_OR_RETURN(device);
  return give_clock(gpu, index, type, mhz);
}

EXPORT nvml_return nvmlDeviceGetClock(nvml_device device, unsigned type, unsigned id, unsigned *mhz) {
  WHOLE_OR_RETURN(device);
  if (id != 0) return NVML_NOT_SUPPORTED; /* only the current clock */
  return give_clock(gpu, index, type, mhz);
}

EXPORT nvml_return nvmlDeviceGetMaxClockInfo(nvml_device device, unsigned type, unsigned *mhz) {
  WHOLE_OR_RETURN(device);
  if (type > 2) return NVML_NOT_SUPPORTED;
  return give(mhz, type == 2 ? gpu->memory_mhz : gpu->sm_max_mhz);
}

/* 0xffffff01 and 0xffffff02 (TDP, unlimited) come in pairs and mean: no lock that matters here. */
EXPORT nvml_return nvmlDeviceSetGpuLockedClocks(nvml_device device, unsigned low, unsigned high) {
  WHOLE_OR_RETURN(device);
  if (atomic_load(&gpu->write_error)) return (nvml_return)atomic_load(&gpu->write_error);
  bool names = low >= 0xffffff00u, named = high >= 0xffffff00u;
  NEED(names == named && low <= high);
  atomic_store(&gpu->lock_min_mhz, names ? 0 : low);
  atomic_store(&gpu->lock_max_mhz, names ? 0 : high);
  return changed(gpu, index);
}

EXPORT nvml_return nvmlDeviceResetGpuLockedClocks(nvml_device device) {
  WHOLE_OR_RETURN(device);
  if (atomic_load(&gpu->write_error)) return (nvml_return)atomic_load(&gpu->write_error);
  atomic_store(&gpu->lock_min_mhz, 0);
  atomic_store(&gpu->lock_max_mhz, 0);
  return changed(gpu, index);
}

static nvml_return give_list(const uint32_t *from, unsigned length, unsigned *count, unsigned *to) {
  NEED(count != NULL);
  unsigned room = *count;
  *count = length;
  if (to == NULL || room < length) return NVML_INSUFFICIENT_SIZE;
  for (unsigned i = 0; i < length; i++) to[i] = from[i];
  return NVML_SUCCESS;
}

EXPORT nvml_return nvmlDeviceGetSupportedMemoryClocks(nvml_device device, unsigned *count, unsigned *mhz) {
  WHOLE_OR_RETURN(device);
  return give_list(&gpu->memory_mhz, 1, count, mhz);
}

EXPORT nvml_return nvmlDeviceGetSupportedGraphicsClocks(nvml_device device, unsigned memory_mhz, unsigned *count,
                                                        unsigned *mhz) {
  WHOLE_OR_RETURN(device);
  if (memory_mhz != gpu->memory_mhz) return NVML_NOT_FOUND;
  return give_list(gpu->sm_clocks_mhz, gpu->clock_count, count, mhz);
}

#define IDLE 1ULL
#define SW_POWER_CAP 4ULL

EXPORT nvml_return nvmlDeviceGetCurrentClocksEventReasons(nvml_device device, unsigned long long *reasons) {
  WHOLE_OR_RETURN(device);
  NEED(reasons != NULL);
  struct reading reading;
  read_gpu(state_of(gpu, index), index, &reading);
  *reasons = reading.busy_mw < 1 ? IDLE : 0;
  if (reading.busy_mw >= 1 && reading.wanted_mw > reading.enforced_mw) *reasons |= SW_POWER_CAP;
  return NVML_SUCCESS;
}

EXPORT nvml_return nvmlDeviceGetCurrentClocksThrottleReasons(nvml_device device, unsigned long long *reasons) {
  return nvmlDeviceGetCurrentClocksEventReasons(device, reasons);
}

EXPORT nvml_return nvmlDeviceGetSupportedClocksEventReasons(nvml_device device, unsigned long long *reasons) {
  WHOLE_OR_RETURN(device);
  NEED(reasons != NULL);
  *reasons = IDLE | SW_POWER_CAP;
  return NVML_SUCCESS;
}

EXPORT nvml_return nvmlDeviceGetSupportedClocksThrottleReasons(nvml_device device, unsigned long long *reasons) {
  return nvmlDeviceGetSupportedClocksEventReasons(device, reasons);
}

/* Busy watts as a share of what the default limit leaves above idle; memory at half of that. */
EXPORT nvml_return nvmlDeviceGetUtilizationRates(nvml_device device, nvml_utilization *utilization) {
  WHOLE_OR_RETURN(device);
  NEED(utilization != NULL);
  struct reading reading;
  read_gpu(state_of(gpu, index), index, &reading);
  double percent = 100.0 * reading.busy_mw / ((double)gpu->default_mw - gpu->idle_mw);
  utilization->gpu = (unsigned)lround(percent < 100 ? percent : 100);
  utilization->memory = utilization->gpu / 2;
  return NVML_SUCCESS;
}

/* 28 degrees and 6 more for each hundred watts: about 34 idle and 70 at 700 W. */
static double celsius(struct gpu *gpu, unsigned index) {
  struct reading reading;
  read_gpu(state_of(gpu, index), index, &reading);
  return 28.0 + reading.average_mw * 6e-5;
}

EXPORT nvml_return nvmlDeviceGetTemperature(nvml_device device, unsigned sensor, unsigned *degrees) {
  WHOLE_OR_RETURN(device);
  NEED(sensor == 0);
  return give(degrees, celsius(gpu, index));
}

EXPORT nvml_return nvmlDeviceGetTemperatureV(nvml_device device, nvml_temperature *temperature) {
  WHOLE_OR_RETURN(device);
  NEED(temperature != NULL && temperature->sensor == 0);
  if (temperature->version != (sizeof *temperature | 1u << 24)) return NVML_ARGUMENT_VERSION_MISMATCH;
  temperature->celsius = (int)lround(celsius(gpu, index));
  return NVML_SUCCESS;
}

static void fill_field(const struct gpu *gpu, const struct reading *reading, nvml_field *field) {
  field->result = NVML_SUCCESS;
  field->value_type = 1; /* unsigned int */
  field->value.as_unsigned_long_long = 0;
  switch (field->field) {
    case 83:
      field->value_type = 3; /* unsigned long long */
      field->value.as_unsigned_long_long = reading->energy_mj;
      break;
    case 185: field->value.as_unsigned = (unsigned)lround(reading->average_mw); break;
    case 186: field->value.as_unsigned = (unsigned)lround(reading->draw_mw); break;
    case 187: field->value.as_unsigned = gpu->min_mw; break;
    case 188: field->value.as_unsigned = gpu->max_mw; break;
    case 189: field->value.as_unsigned = gpu->default_mw; break;
    case 190: field->value.as_unsigned = reading->enforced_mw; break;
    case 192: field->value.as_unsigned = atomic_load(&gpu->limit_mw); break;
    default: field->result = NVML_NOT_SUPPORTED;
  }
}

/* Success as a whole; each field carries its own result. */
EXPORT nvml_return nvmlDeviceGetFieldValues(nvml_device device, int count, nvml_field *fields) {
  WHOLE_OR_RETURN(device);
  NEED(count > 0 && fields != NULL);
  struct reading reading;
  uint64_t begun = now_ns();
  read_gpu(state_of(gpu, index), index, &reading);
  for (int i = 0; i < count; i++) {
    fill_field(gpu, &reading, &fields[i]);
    fields[i].timestamp_us = (int64_t)(begun / 1000);
    fields[i].latency_us = (int64_t)((now_ns() - begun) / 1000);
  }
  return NVML_SUCCESS;
}
