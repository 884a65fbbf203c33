#pragma once

/*
 * The life of a store that ends in the middle: a process that appends, begins dictionaries, seals,
 * rolls up, rolls late windows in, takes addresses for functions, parts by policy, hides, undoes,
 * erases, forgets on request, collects, is backed up, verifies, restores and removes backups,
 * flushes and opens, until it dies. store_world.h kills it and checks what it left.
 *
 * It tells through a pipe what was acknowledged, and when it enters and leaves each phase of its
 * work. It dies by a timer of its own: in the phase that it was told, so many nanoseconds after
 * that began, which is at whatever instruction it is then; or by the parent, after so many
 * messages. What a section holds follows from its stream and seq alone, so both sides know it.
 *
 * Beside what must never be lost there is a tenant "scratch", whose data lies before all other and
 * is in generations of its own, so that deleting it lets a generation be dropped.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "core/rng.h"
#include "storage/store_backup.h"
#include "storage/store_expire.h"
#include "storage/store_verify.h"
#include "tests/unit/storage/store_fixture.h"

#define STREAMS         4
#define SEQS_MAX        65536
#define FUNCTIONS       2000
#define GROUP_MAX       6
#define WINDOW_S        16 /* a few sections of each stream */
#define HIDDEN_MAX      8
#define LIFE_FIRST_NS   (1000 * SECOND) /* of what must never be lost */
#define LIFE_SCRATCH_NS (896 * SECOND)  /* the end of what may: that of a day */
#define LIFE_DAYS       1000            /* the clock moves less in one life */

/* What goes through the pipe. */
struct ack {
	uint32_t stream;
	uint32_t seq;
	uint32_t status;
};

/*
 * Beside the statuses of sections: of a backup by its number that was made, or is about to be
 * removed; of a run that has ended, by the low half of its id; that a copy was restored; and phases
 * by their number, with the microseconds that one took.
 */
enum {
	ACK_OPENED = 1000,
	ACK_BACKUP,
	ACK_UNBACKUP,
	ACK_ENDED,
	ACK_RESTORED,
	ACK_PHASE,
	ACK_LEFT,
};

enum life_phase {
	LIFE_NONE, /* between two */
	LIFE_OPEN,
	LIFE_APPEND,
	LIFE_GENERATION, /* an append that begins one */
	LIFE_SEAL,
	LIFE_ROLL,
	LIFE_ROLL_LATE, /* of hours that were made before */
	LIFE_COLLAPSE,
	LIFE_PART,
	LIFE_HIDE,
	LIFE_UNDO,
	LIFE_ERASE,
	LIFE_FORGET,
	LIFE_DELETE_RANGE,
	LIFE_COLLECT, /* drops a generation */
	LIFE_BACKUP,
	LIFE_BACKUP_VERIFY,
	LIFE_RESTORE,
	LIFE_BACKUP_DELETE,
	LIFE_FLUSH,
	LIFE_PHASES,
};

static const char *const life_phase_names[LIFE_PHASES] = {
	[LIFE_NONE] = "between",
	[LIFE_OPEN] = "open",
	[LIFE_APPEND] = "append",
	[LIFE_GENERATION] = "begin a generation",
	[LIFE_SEAL] = "seal",
	[LIFE_ROLL] = "roll up",
	[LIFE_ROLL_LATE] = "roll late windows in",
	[LIFE_COLLAPSE] = "collapse",
	[LIFE_PART] = "part by policy",
	[LIFE_HIDE] = "hide",
	[LIFE_UNDO] = "undo",
	[LIFE_ERASE] = "erase",
	[LIFE_FORGET] = "forget",
	[LIFE_DELETE_RANGE] = "delete a range",
	[LIFE_COLLECT] = "collect",
	[LIFE_BACKUP] = "back up",
	[LIFE_BACKUP_VERIFY] = "verify a backup",
	[LIFE_RESTORE] = "restore",
	[LIFE_BACKUP_DELETE] = "remove a backup",
	[LIFE_FLUSH] = "flush",
};

/* ---- what is in a section ---- */

/* What a section must hold. */
struct content {
	uint64_t samples;
	uint64_t weighed; /* values times the number of their function */
};

static struct rng content_rng(uint32_t stream, uint32_t seq)
{
	struct rng rng;
	rng_init(&rng, (uint64_t)stream << 32 | seq);
	return rng;
}

static uint64_t content_start(uint32_t stream, uint32_t seq)
{
	return LIFE_FIRST_NS + ((uint64_t)seq * STREAMS + stream) * SECOND;
}

/* One sample has an address for its function. */
static struct content content_of(uint32_t stream, uint32_t seq)
{
	struct rng rng = content_rng(stream, seq);
	struct content content = { .samples = 1 };
	uint64_t rows = 1 + rng_below(&rng, 40);
	for (uint64_t i = 0; i < rows; i++) {
		uint64_t function = rng_below(&rng, FUNCTIONS);
		uint64_t value = 1 + rng_below(&rng, 100);
		content.samples += value;
		content.weighed += value * function;
	}
	return content;
}

/* In a module whose symbols are there, so that days of it can be collapsed. */
static uint32_t content_native(struct source *source, uint64_t address)
{
	struct module module = {
		.name = source_string(source, "app"),
		.build_id = source_string(source, "aaaa"),
	};
	struct frame frame = { .kind = FRAME_NATIVE, .address = address };
	uint32_t id;
	uint32_t node;
	CHECK_OK(dict_module(source->dict, &module, &frame.module));
	CHECK_OK(dict_frame(source->dict, &frame, &id));
	CHECK_OK(dict_stack(source->dict, &id, 1, &node));
	return node;
}

static void content_fill(struct source *source, uint32_t stream, uint32_t seq)
{
	struct rng rng = content_rng(stream, seq);
	uint32_t series[2] = {
		source_series(source, "cart", "a", 1),
		source_series(source, "cart", "b", 1),
	};
	uint64_t rows = 1 + rng_below(&rng, 40);
	source_begin(source, content_start(stream, seq), SECOND);
	for (uint64_t i = 0; i < rows; i++) {
		char name[32];
		uint32_t function = (uint32_t)rng_below(&rng, FUNCTIONS);
		snprintf(name, sizeof(name), "%u", function);
		uint64_t value = 1 + rng_below(&rng, 100);
		CHECK_OK(batch_add_row(
		        source->batch, series[function % 2], source_stack(source, name), value));
	}
	CHECK_OK(batch_add_row(source->batch, series[0],
	        content_native(source, 0x1000 + (seq * STREAMS + stream) % 0x200), 1));
}

/* The clock of a life begins behind all that the lives before it came to. */
static struct clock_virtual *life_clock(uint64_t life)
{
	static struct clock_virtual clock;
	clock_virtual_init(&clock, (life + 1) * LIFE_DAYS * 86400 * SECOND);
	return &clock;
}

/*
 * In the folder are the store, its backups and what was restored from one. With windows so short
 * that there is always one to seal.
 */
static struct store *open_store(const char *folder, struct clock_virtual *clock)
{
	char path[400];
	snprintf(path, sizeof(path), "%s/store", folder);
	struct store_options options = store_fixture_options(path);
	options.clock = &clock->clock;
	options.window_ns = WINDOW_S * SECOND;
	options.seal_rows_max = 200;
	options.roll_ns[0] = 4 * options.window_ns;
	options.roll_ns[1] = 2 * options.roll_ns[0];
	options.roll_stacks_max = 500;
	options.generation_nodes = 1500;
	options.collapse_after_ns = 1;
	return store_fixture_open_with(options);
}

/* ---- the process that dies ---- */

static void say(uint32_t stream, uint32_t seq, uint32_t status)
{
	struct ack ack = { stream, seq, status };
	if (write(STDOUT_FILENO, &ack, sizeof(ack)) != sizeof(ack))
		exit(1);
}

struct life {
	const char *folder;
	struct clock_virtual *clock;
	struct store *store;
	struct source sources[GROUP_MAX];
	struct source scratch;
	struct rng rng;
	uint32_t next[STREAMS];
	uint64_t scratch_seq;
	uint32_t backups;
	bool is_restored;
	bool is_armed;

	enum life_phase target; /* where to die, so long behind its beginning */
	uint64_t delay_ns;
	enum life_phase phase;
	uint64_t began_ns;
};

static uint64_t life_now(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static void life_arm(struct life *life)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL };
	struct itimerspec when = {
		.it_value = { (time_t)(life->delay_ns / SECOND), (long)(life->delay_ns % SECOND) },
	};
	timer_t timer;
	if (life->delay_ns == 0)
		(void)kill(getpid(), SIGKILL);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) < 0 ||
	        timer_settime(timer, 0, &when, NULL) < 0)
		exit(1);
	life->is_armed = true;
}

static void life_enter(struct life *life, enum life_phase phase)
{
	say(0, phase, ACK_PHASE);
	life->phase = phase;
	life->began_ns = life_now();
	if (phase == life->target && !life->is_armed)
		life_arm(life);
}

static void life_leave(struct life *life)
{
	say((uint32_t)((life_now() - life->began_ns) / 1000), life->phase, ACK_LEFT);
	life->phase = LIFE_NONE;
}

static int life_append(struct life *life, enum life_phase phase)
{
	struct store_append appends[GROUP_MAX];
	uint32_t count = 1 + (uint32_t)rng_below(&life->rng, GROUP_MAX);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t stream = (uint32_t)rng_below(&life->rng, STREAMS);
		uint32_t seq = life->next[stream]++;
		/* Now and then one comes again that was acknowledged, or is in this group. */
		if (seq > 1 && rng_below(&life->rng, 8) == 0)
			seq = --life->next[stream] - (uint32_t)rng_below(&life->rng, 2);
		seq = seq ? seq : 1;
		content_fill(&life->sources[i], stream, seq);
		life->sources[i].stream.shard = (uint16_t)stream;
		appends[i] = source_section(&life->sources[i], seq);
	}
	life_enter(life, phase);
	int r = store_append(life->store, appends, count);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < count; i++)
		say(appends[i].stream.shard, (uint32_t)appends[i].stream.seq,
		        appends[i].ret_status);
	life_leave(life);
	return 0;
}

static int life_do_append(struct life *life)
{
	int r = 0;
	for (uint64_t groups = 1 + rng_below(&life->rng, 3); r == 0 && groups > 0; groups--)
		r = life_append(life, LIFE_APPEND);
	return r;
}

/* The newest generation is old. */
static int life_do_generation(struct life *life)
{
	clock_virtual_advance(life->clock, UINT64_C(8) * 86400 * SECOND);
	return life_append(life, LIFE_GENERATION);
}

static int life_seal(struct life *life, uint64_t until_ns)
{
	life_enter(life, LIFE_SEAL);
	int r = store_seal(life->store, until_ns);
	life_leave(life);
	return r;
}

/* Everything, or all but the newest: what then comes is late, or is not. */
static int life_do_seal(struct life *life)
{
	return life_seal(
	        life, rng_below(&life->rng, 2) ? UINT64_MAX : content_start(0, life->next[0]));
}

static int life_roll(struct life *life, enum life_phase phase)
{
	life_enter(life, phase);
	int r = store_roll(life->store, UINT64_MAX);
	life_leave(life);
	return r;
}

static int life_do_roll(struct life *life)
{
	return life_roll(life, LIFE_ROLL);
}

/* Seals what comes behind what is already in an hour, and makes the hour anew. */
static int life_do_late(struct life *life)
{
	int r = life_seal(life, UINT64_MAX);
	r = r < 0 ? r : life_roll(life, LIFE_ROLL);
	r = r < 0 ? r : life_append(life, LIFE_APPEND);
	r = r < 0 ? r : life_seal(life, UINT64_MAX);
	r = r < 0 ? r : life_roll(life, LIFE_ROLL_LATE);
	/* There is nothing to roll up now: a day is taken in each call. */
	return r < 0 ? r : life_roll(life, LIFE_COLLAPSE);
}

struct life_listing {
	uint32_t level;
	struct store_expire_item items[HIDDEN_MAX];
	uint32_t count;
};

static int life_list_unit(void *owner, const struct store_inventory_unit *unit)
{
	struct life_listing *listing = owner;
	if (unit->is_open || unit->window.level != listing->level || listing->count == HIDDEN_MAX ||
	        unit->window.from_ns < LIFE_SCRATCH_NS)
		return 0;
	listing->items[listing->count++] = (struct store_expire_item){
		.window = unit->window,
		.unit = STORE_UNIT_NONE,
		.parts = STORE_PART_ALL,
	};
	return 0;
}

static int life_list(struct life *life, uint32_t level, struct life_listing *listing)
{
	struct store_inventory_options options = { 0 };
	*listing = (struct life_listing){ .level = level };
	return store_inventory(life->store, options, life_list_unit, listing);
}

static uint32_t life_class(
        void *owner, const char *tenant, const struct dict *dict, uint32_t series)
{
	const char *instance = dict_text(
	        dict, dict_label_value(dict, series, dict_find_string(dict, "instance", 8)));
	return instance[0] == 'b';
}

static int life_do_part(struct life *life)
{
	struct life_listing listing;
	struct store_resealed resealed;
	int r = life_list(life, 0, &listing);
	if (r < 0 || listing.count == 0)
		return r;
	life_enter(life, LIFE_PART);
	for (uint32_t i = 0; r == 0 && i < listing.count; i++)
		r = store_reseal(life->store, listing.items[i].window, life_class, NULL, &resealed);
	life_leave(life);
	return r;
}

/*
 * Some windows are hidden, and come back. Of rollups, which say nothing that windows below do not,
 * they are erased, and made anew by the next roll.
 */
static int life_do_hide(struct life *life)
{
	struct life_listing listing;
	struct store_run run = {
		.id = rng_u64(&life->rng) >> 1,
		.hidden_ns = 1,
		.erase_ns = 2,
	};
	struct store_expired expired;
	int r = life_list(life, (uint32_t)rng_below(&life->rng, 3), &listing);
	if (r < 0 || listing.count == 0)
		return r;
	life_enter(life, LIFE_HIDE);
	r = store_hide(life->store, &run, listing.items, listing.count, &expired);
	life_leave(life);
	if (r < 0)
		return r;
	life_enter(life, listing.level > 0 ? LIFE_ERASE : LIFE_UNDO);
	r = listing.level > 0 ? store_erase(life->store, run.id, NULL, &expired)
	                      : store_undo(life->store, run.id, &expired);
	if (r == 0)
		say(0, (uint32_t)run.id, ACK_ENDED);
	life_leave(life);
	return r == -ENOENT ? 0 : r; /* nothing was to be hidden: there is no run */
}

static int life_append_scratch(struct life *life)
{
	struct source *source = &life->scratch;
	uint32_t series = source_series(source, "scratch", "s", 1);
	source_begin(source, (1 + life->scratch_seq * 10 % 800) * SECOND, SECOND);
	/* So many that their delta is packed, and its text apart. */
	for (uint32_t i = 0; i < 70; i++) {
		char name[32];
		snprintf(name, sizeof(name), "scratch%u", i);
		CHECK_OK(batch_add_row(source->batch, series, source_stack(source, name), 1));
	}
	struct store_append append = source_section(source, ++life->scratch_seq);
	life_enter(life, LIFE_APPEND);
	int r = store_append(life->store, &append, 1);
	life_leave(life);
	return r;
}

static int life_forget(struct life *life)
{
	uint64_t batches;
	struct store_forgotten forgotten;
	struct store_forget_options options = { .tenant = "scratch", .to_ns = UINT64_MAX };
	bool is_range = rng_below(&life->rng, 2);
	if (life->target == LIFE_FORGET || life->target == LIFE_DELETE_RANGE)
		is_range = life->target == LIFE_DELETE_RANGE;
	life_enter(life, is_range ? LIFE_DELETE_RANGE : LIFE_FORGET);
	int r = is_range ? store_delete_range(life->store, 0, LIFE_SCRATCH_NS, &batches)
	                 : store_forget(life->store, &options, &forgotten);
	life_leave(life);
	return r;
}

/* A generation that has nothing but scratch, sealed or not; without it nothing speaks of it. */
static int life_do_forget(struct life *life)
{
	clock_virtual_advance(life->clock, UINT64_C(8) * 86400 * SECOND);
	int r = life_append_scratch(life);
	if (r == 0 && rng_below(&life->rng, 2))
		r = life_seal(life, LIFE_SCRATCH_NS);
	r = r < 0 ? r : life_do_generation(life);
	r = r < 0 ? r : life_forget(life);
	if (r < 0)
		return r;
	life_enter(life, LIFE_COLLECT);
	r = store_collect(life->store);
	life_leave(life);
	return r;
}

static int life_try_restore(struct life *life, struct store_backup_options options)
{
	char path[400];
	char error[512] = "";
	if (life->is_restored)
		return 0;
	life->is_restored = true;
	snprintf(path, sizeof(path), "%s/restored", life->folder);
	life_enter(life, LIFE_RESTORE);
	int r = store_backup_restore(options, path, error, sizeof(error));
	if (r == 0)
		say(0, 0, ACK_RESTORED);
	life_leave(life);
	return r;
}

static int life_do_backup(struct life *life)
{
	char folder[400];
	char name[32];
	char error[512] = "";
	uint32_t number = life->backups++;
	AUTO_BACKUP_MANIFEST manifest = { .files = NULL };
	snprintf(folder, sizeof(folder), "%s/backups", life->folder);
	snprintf(name, sizeof(name), "b%u", number);
	struct store_backup_options options = { .folder = folder, .name = name };
	life_enter(life, LIFE_BACKUP);
	int r = store_backup_create(life->store, options, &manifest, error, sizeof(error));
	if (r == 0)
		say(0, number, ACK_BACKUP);
	life_leave(life);
	if (r < 0)
		return r;
	life_enter(life, LIFE_BACKUP_VERIFY);
	r = store_backup_verify(options, error, sizeof(error));
	life_leave(life);
	r = r < 0 ? r : life_try_restore(life, options);
	if (r < 0 || (number % 2 == 0 && life->target != LIFE_BACKUP_DELETE))
		return r;
	say(0, number, ACK_UNBACKUP);
	life_enter(life, LIFE_BACKUP_DELETE);
	r = store_backup_delete(options, error, sizeof(error));
	life_leave(life);
	return r;
}

static int life_do_flush(struct life *life)
{
	life_enter(life, LIFE_FLUSH);
	int r = store_flush(life->store);
	life_leave(life);
	return r;
}

static int (*const life_steps[])(struct life *life) = {
	life_do_append,
	life_do_seal,
	life_do_hide,
	life_do_roll,
	life_do_late,
	life_do_part,
	life_do_forget,
	life_do_append,
	life_do_flush,
	life_do_backup,
};

static void life_put_symbols(struct life *life)
{
	AUTO(symbols_builder) builder = symbols_builder_new();
	AUTO_BUF table = { 0 };
	assert_non_null(builder);
	CHECK_OK(symbols_builder_add(builder, 0x1000, 0x100, "work", 4));
	CHECK_OK(symbols_builder_add(builder, 0x1100, 0x100, "wait", 4));
	CHECK_OK(symbols_builder_finish(builder, &table));
	CHECK_OK(store_symbols_put(life->store, "aaaa", table.bytes, table.count));
}

/* argv: program, folder, seed, which life, where to die and when, the next seq of each stream. */
#define LIFE_ARGUMENTS (6 + STREAMS)

static bool life_is_asked(int argc)
{
	return argc == LIFE_ARGUMENTS;
}

static int live_until_killed(char **argv)
{
	struct life life = {
		.folder = argv[1],
		.clock = life_clock(strtoull(argv[3], NULL, 10)),
		.target = (enum life_phase)strtoul(argv[4], NULL, 10),
		.delay_ns = strtoull(argv[5], NULL, 10),
	};
	rng_init(&life.rng, strtoull(argv[2], NULL, 10));
	for (uint32_t i = 0; i < STREAMS; i++)
		life.next[i] = (uint32_t)strtoul(argv[6 + i], NULL, 10);
	life_enter(&life, LIFE_OPEN);
	life.store = open_store(life.folder, life.clock);
	life_leave(&life);
	say(0, 0, ACK_OPENED);
	for (uint32_t i = 0; i < GROUP_MAX; i++)
		life.sources[i] = source_new(life.store, 1);
	life.scratch = source_new(life.store, 2);
	life.scratch.stream.tenant = "scratch";
	life.scratch.stream.epoch = strtoull(argv[3], NULL, 10) + 1;
	life_put_symbols(&life);
	if (rng_below(&life.rng, 2))
		store_set_classify(life.store, life_class, NULL);
	/* In a circle, from anywhere: what an earlier life left is there for the later steps. */
	for (uint64_t step = rng_below(&life.rng, COUNT_OF(life_steps));; step++) {
		int r = life_steps[step % COUNT_OF(life_steps)](&life);
		if (r < 0) {
			fprintf(stderr, "%s: %s, %s\n", life_phase_names[life.phase], strerror(-r),
			        store_error(life.store));
			return 1;
		}
	}
}
