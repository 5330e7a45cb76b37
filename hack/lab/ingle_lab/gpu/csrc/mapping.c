/* Opens the state file. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state.h"

static enum open_result check(const struct state *state) {
  if (state->magic != STATE_MAGIC) return OPEN_NOT_A_STATE;
  if (state->version != STATE_VERSION || state->size_bytes != sizeof *state) return OPEN_WRONG_VERSION;
  if (state->gpu_count > MAX_GPUS || state->zone_count > MAX_GPUS || state->slot_count > MAX_SLOTS)
    return OPEN_NOT_A_STATE;
  return OPEN_OK;
}

enum open_result map_state(const char *path, struct state **state) {
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return OPEN_MISSING;
  struct stat status;
  if (fstat(fd, &status) != 0 || status.st_size != (off_t)sizeof **state) {
    /* a file of another size is another layout, or no state at all: never touch it through a map */
    uint64_t magic = 0;
    bool ours = pread(fd, &magic, sizeof magic, 0) == sizeof magic && magic == STATE_MAGIC;
    close(fd);
    return ours ? OPEN_WRONG_VERSION : OPEN_NOT_A_STATE;
  }
  void *mapped = mmap(NULL, sizeof **state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (mapped == MAP_FAILED) return OPEN_MISSING;
  enum open_result result = check(mapped);
  if (result != OPEN_OK)
    munmap(mapped, sizeof **state);
  else
    *state = mapped;
  return result;
}

void unmap_state(struct state *state) {
  munmap(state, sizeof *state);
}
