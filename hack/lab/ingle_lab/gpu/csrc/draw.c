/* Watts and joules, in closed form from timestamps: no thread, no tick.
 *
 * The draw follows its target, min(idle + busy, enforced limit), with a first-order lag. Whoever finds that the
 * target has changed adds a segment to the GPU's curve by one compare-and-swap of `head`. What is only
 * approximate: a killed process draws until somebody reads; a target that came and went between two reads
 * without its process calling in is not seen; locked clocks scale the busy watts linearly.
 */
#define _GNU_SOURCE
#include <math.h>
#include <string.h>
#include <time.h>

#include "state.h"

struct piece {
  uint64_t ticket, previous, t_ns;
  double draw, target, energy;
};

static uint64_t bits(double value) {
  uint64_t out;
  memcpy(&out, &value, sizeof out);
  return out;
}

static double number(uint64_t value) {
  double out;
  memcpy(&out, &value, sizeof out);
  return out;
}

uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000ULL + (uint64_t)time.tv_nsec;
}

uint32_t enforced_mw(const struct gpu *gpu) {
  uint32_t limit = atomic_load(&gpu->limit_mw), out_of_band = atomic_load(&gpu->out_of_band_mw);
  return out_of_band != 0 && out_of_band < limit ? out_of_band : limit;
}

static uint64_t checksum(const uint64_t *words, int count) {
  uint64_t sum = 0x9e3779b97f4a7c15ULL;
  for (int i = 0; i < count; i++) sum = (sum ^ words[i]) * 0x100000001b3ULL + (sum >> 29);
  return sum;
}

static void write_segment(struct segment *cell, const struct piece *piece) {
  uint64_t words[] = {piece->ticket, piece->previous, piece->t_ns, bits(piece->draw), bits(piece->target),
                      bits(piece->energy)};
  atomic_store(&cell->ticket, words[0]);
  atomic_store(&cell->previous, words[1]);
  atomic_store(&cell->t_ns, words[2]);
  atomic_store(&cell->draw_bits, words[3]);
  atomic_store(&cell->target_bits, words[4]);
  atomic_store(&cell->energy_bits, words[5]);
  atomic_store(&cell->check, checksum(words, 6));
}

/* False when the cell has been used again since, or is half written: only possible for a writer that slept
 * while 256 others passed. Ticket 0 is the beginning: idle since the file was made. */
static bool read_segment(const struct state *state, const struct gpu *gpu, uint64_t ticket, struct piece *piece) {
  if (ticket == 0) {
    *piece = (struct piece){.t_ns = state->created_ns, .draw = gpu->idle_mw, .target = gpu->idle_mw};
    return true;
  }
  const struct segment *cell = &gpu->segments[ticket % SEGMENTS];
  uint64_t words[] = {atomic_load(&cell->ticket),    atomic_load(&cell->previous),
                      atomic_load(&cell->t_ns),      atomic_load(&cell->draw_bits),
                      atomic_load(&cell->target_bits), atomic_load(&cell->energy_bits)};
  if (words[0] != ticket || atomic_load(&cell->check) != checksum(words, 6)) return false;
  *piece = (struct piece){.ticket = words[0], .previous = words[1], .t_ns = words[2],
                          .draw = number(words[3]), .target = number(words[4]), .energy = number(words[5])};
  return true;
}

static double seconds(uint64_t from_ns, uint64_t to_ns) {
  return to_ns > from_ns ? (double)(to_ns - from_ns) * 1e-9 : 0.0;
}

static double draw_at(const struct piece *piece, uint64_t t_ns) {
  return piece->target + (piece->draw - piece->target) * exp(-seconds(piece->t_ns, t_ns) / LAG_S);
}

/* mW x s = mJ */
static double energy_at(const struct piece *piece, uint64_t t_ns) {
  double dt = seconds(piece->t_ns, t_ns);
  return piece->energy + piece->target * dt + (piece->draw - piece->target) * LAG_S * (1 - exp(-dt / LAG_S));
}

/* Energy used until a second ago, and the moment that really is: later where the curve does not reach back. */
static double energy_before(const struct state *state, const struct gpu *gpu, struct piece piece, uint64_t *t_ns) {
  for (int steps = 0; steps < SEGMENTS && piece.t_ns > *t_ns; steps++) {
    struct piece older;
    if (piece.ticket == 0 || !read_segment(state, gpu, piece.previous, &older)) {
      *t_ns = piece.t_ns;
      break;
    }
    piece = older;
  }
  return energy_at(&piece, *t_ns);
}

static uint64_t raise_floor(_Atomic uint64_t *floor, double energy) {
  uint64_t value = energy > 0 ? (uint64_t)energy : 0, seen = atomic_load(floor);
  while (seen < value && !atomic_compare_exchange_weak(floor, &seen, value)) continue;
  return seen < value ? value : seen;
}

static double clock_fraction(const struct gpu *gpu) {
  uint32_t lock = atomic_load(&gpu->lock_max_mhz);
  return lock == 0 || lock >= gpu->sm_max_mhz ? 1.0 : (double)lock / gpu->sm_max_mhz;
}

static void fill_target(const struct state *state, unsigned index, struct reading *reading) {
  const struct gpu *gpu = &state->gpus[index];
  reading->busy_mw = busy_mw(state, index) * clock_fraction(gpu);
  reading->wanted_mw = gpu->idle_mw + reading->busy_mw;
  reading->enforced_mw = enforced_mw(gpu);
}

/* Makes the curve end in today's target. A loser of the race for `head` looks again; after eight lost
 * races it answers from what it sees. */
static uint64_t advance(struct state *state, unsigned index, struct reading *reading, struct piece *piece) {
  struct gpu *gpu = &state->gpus[index];
  uint64_t now = 0;
  for (int attempt = 0; attempt < 8; attempt++) {
    uint64_t head = atomic_load(&gpu->head);
    bool known = read_segment(state, gpu, head, piece);
    if (!known && atomic_load(&gpu->head) != head) continue;
    fill_target(state, index, reading);
    double target = reading->wanted_mw < reading->enforced_mw ? reading->wanted_mw : reading->enforced_mw;
    now = now_ns();
    if (!known) /* the head itself was overwritten: begin again from here, without losing joules */
      *piece = (struct piece){.ticket = head, .t_ns = now, .draw = target, .target = -1,
                              .energy = (double)atomic_load(&gpu->energy_floor_mj)};
    if (now < piece->t_ns) now = piece->t_ns;
    if (fabs(target - piece->target) < 0.5) return now;
    struct piece next = {.ticket = atomic_fetch_add(&gpu->last_ticket, 1) + 1, .previous = head, .t_ns = now,
                         .draw = known ? draw_at(piece, now) : target, .target = target,
                         .energy = known ? energy_at(piece, now) : piece->energy};
    write_segment(&gpu->segments[next.ticket % SEGMENTS], &next);
    *piece = next;
    if (atomic_compare_exchange_strong(&gpu->head, &head, next.ticket)) return now;
  }
  return now > piece->t_ns ? now : piece->t_ns;
}

void read_gpu(struct state *state, unsigned index, struct reading *reading) {
  struct gpu *gpu = &state->gpus[index];
  struct piece piece = {0};
  uint64_t now = advance(state, index, reading, &piece);
  double energy = energy_at(&piece, now);
  reading->draw_mw = draw_at(&piece, now);
  uint64_t from = now > 1000000000ULL ? now - 1000000000ULL : 0;
  double before = energy_before(state, gpu, piece, &from);
  double span = seconds(from, now);
  reading->average_mw = span > 1e-3 ? (energy - before) / span : reading->draw_mw;
  reading->energy_mj = raise_floor(&gpu->energy_floor_mj, energy);
}
