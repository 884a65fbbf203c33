#pragma once

/*
 * Who kills what store_life.h says, and checks what it left: what was acknowledged is there, once,
 * with exactly its content; what was not is there once or not at all; counters agree with the rows;
 * a section that is sent again is a DUP where it is there; verifying finds no damage; a backup that
 * is there is whole, and one that was told of is there; so is what was restored; a run of expiry
 * that was told to have ended does not come back.
 *
 * The program runs itself as the process to be killed (victim.h). Each kill aims at a phase, at a
 * moment that the seed says of how long that phase took in earlier lives. A test that includes this
 * says what else happens to the folder: struct world_events. PROFLEET_SEED=N: other lives.
 */

#include <dirent.h>

#include "tests/crash/store_life.h"
#include "tests/crash/victim.h"

#define LIFE_MESSAGES_MAX 1500 /* a life is longer than that only when its phase does not come */

struct world;

/* What a test does to the folder beside killing who writes there; each may be NULL. */
struct world_events {
	void (*before_life)(struct world *world);
	/* May say that fewer messages were sent: world->acks_count. */
	void (*after_kill)(struct world *world);
};

#define TOLD_MAX     64 /* of backups, of runs: in one life */
#define MESSAGES_MAX 4096

/* Over all stores of a test. */
struct phases {
	uint32_t kills[LIFE_PHASES];
	uint64_t last_us[LIFE_PHASES]; /* how long one took; 0: nobody left it yet */
	uint32_t next;                 /* to aim at */
};

struct world {
	struct test_dir *dir;
	const struct world_events *events;
	void *owner; /* of the events */
	struct rng rng;
	bool acked[STREAMS][SEQS_MAX];
	uint32_t next[STREAMS];
	uint8_t seen[STREAMS][SEQS_MAX]; /* how often the scan told of it */
	uint64_t batches;
	uint64_t samples;
	uint64_t rollups_max;
	uint64_t backups;  /* that were there after a kill, whole */
	uint64_t restored; /* likewise */
	uint64_t scratch_batches;
	uint64_t lives;
	struct phases *phases;

	/* Of the last life. */
	struct ack acks[MESSAGES_MAX];
	uint32_t acks_count;
	uint32_t told_backups[TOLD_MAX];
	uint32_t told_backups_count;
	uint32_t ended_runs[TOLD_MAX];
	uint32_t ended_runs_count;
	bool is_told_restored;
};

static enum life_phase phases_rarest(const struct phases *phases)
{
	enum life_phase rarest = LIFE_NONE + 1;
	for (uint32_t phase = rarest; phase < LIFE_PHASES; phase++)
		if (phases->kills[phase] < phases->kills[rarest])
			rarest = (enum life_phase)phase;
	return rarest;
}

/*
 * Which phase to die in, and when: each in its turn, or the one in which fewest died. Every fourth
 * life ends wherever its messages end.
 */
static void world_aim(struct world *world, enum life_phase *ret_target, uint64_t *ret_delay_ns)
{
	struct phases *phases = world->phases;
	*ret_delay_ns = 0;
	*ret_target = LIFE_NONE;
	if (world->lives % 4 == 3)
		return;
	*ret_target = world->lives % 2 ? phases_rarest(phases)
	                               : (enum life_phase)(1 + phases->next++ % (LIFE_PHASES - 1));
	/* The last of it is as long as any other part, and where it ends it may be something else.
	 */
	uint64_t last_us = phases->last_us[*ret_target];
	*ret_delay_ns = rng_below(&world->rng, (last_us ? last_us : 100) * 1000);
}

static struct victim world_spawn(struct world *world, enum life_phase target, uint64_t delay_ns)
{
	char numbers[4][32];
	char next[STREAMS][16];
	const char *arguments[LIFE_ARGUMENTS] = { world->dir->path }; /* and the NULL at the end */

	snprintf(numbers[0], sizeof(numbers[0]), "%" PRIu64, rng_u64(&world->rng) >> 1);
	snprintf(numbers[1], sizeof(numbers[1]), "%" PRIu64, world->lives++);
	snprintf(numbers[2], sizeof(numbers[2]), "%u", (unsigned int)target);
	snprintf(numbers[3], sizeof(numbers[3]), "%" PRIu64, delay_ns);
	for (uint32_t i = 0; i < COUNT_OF(numbers); i++)
		arguments[1 + i] = numbers[i];
	for (uint32_t i = 0; i < STREAMS; i++) {
		snprintf(next[i], sizeof(next[i]), "%u", world->next[i]);
		arguments[1 + COUNT_OF(numbers) + i] = next[i];
	}
	return victim_spawn(arguments);
}

static void world_note_section(struct world *world, const struct ack *ack)
{
	CHECK(ack->stream < STREAMS && ack->seq > 0 && ack->seq < SEQS_MAX);
	CHECK(ack->status == WIRE_OK || ack->status == WIRE_DUP);
	/* What was acknowledged, in this life or an earlier one, can only be a DUP. */
	CHECK(ack->status == WIRE_DUP || !world->acked[ack->stream][ack->seq]);
	world->acked[ack->stream][ack->seq] = true;
}

static void world_drop_told(struct world *world, uint32_t backup)
{
	for (uint32_t i = 0; i < world->told_backups_count; i++)
		if (world->told_backups[i] == backup)
			world->told_backups[i--] = world->told_backups[--world->told_backups_count];
}

static void world_note(struct world *world, const struct ack *ack)
{
	switch (ack->status) {
	case ACK_OPENED:
	case ACK_PHASE:
		break;
	case ACK_LEFT:
		CHECK(ack->seq < LIFE_PHASES);
		world->phases->last_us[ack->seq] = ack->stream;
		break;
	case ACK_BACKUP:
		CHECK(world->told_backups_count < TOLD_MAX);
		world->told_backups[world->told_backups_count++] = ack->seq;
		break;
	case ACK_UNBACKUP:
		world_drop_told(world, ack->seq);
		break;
	case ACK_ENDED:
		CHECK(world->ended_runs_count < TOLD_MAX);
		world->ended_runs[world->ended_runs_count++] = ack->seq;
		break;
	case ACK_RESTORED:
		world->is_told_restored = true;
		break;
	default:
		world_note_section(world, ack);
	}
}

/* In which phase it ended. */
static enum life_phase world_last_phase(const struct world *world)
{
	enum life_phase phase = LIFE_NONE;
	for (uint32_t i = 0; i < world->acks_count; i++)
		if (world->acks[i].status == ACK_PHASE && world->acks[i].seq < LIFE_PHASES)
			phase = (enum life_phase)world->acks[i].seq;
		else if (world->acks[i].status == ACK_LEFT)
			phase = LIFE_NONE;
	return phase;
}

static bool world_hear(struct world *world, int from)
{
	struct ack ack;
	if (read(from, &ack, sizeof(ack)) != sizeof(ack))
		return false;
	CHECK(world->acks_count < MESSAGES_MAX);
	world->acks[world->acks_count++] = ack;
	return true;
}

/* Reads so many messages, kills if it has not died by itself, and takes in what was on its way. */
static void world_kill(struct world *world)
{
	enum life_phase target;
	uint64_t delay_ns;

	world->acks_count = 0;
	world->told_backups_count = 0;
	world->ended_runs_count = 0;
	world->is_told_restored = false;
	world_aim(world, &target, &delay_ns);
	uint64_t messages = target != LIFE_NONE ? LIFE_MESSAGES_MAX
	                                        : 1 + rng_below(&world->rng, 200);
	if (world->events->before_life)
		world->events->before_life(world);
	struct victim victim = world_spawn(world, target, delay_ns);
	while (messages-- > 0 && world_hear(world, victim.from))
		;
	victim_kill(&victim);
	while (world_hear(world, victim.from))
		;
	close(victim.from);
	if (world->events->after_kill)
		world->events->after_kill(world);
	for (uint32_t i = 0; i < world->acks_count; i++)
		world_note(world, &world->acks[i]);
	world->phases->kills[world_last_phase(world)]++;
}

static int world_see(void *owner, const struct store_stream *stream, const struct batch *batch)
{
	struct world *world = owner;
	uint32_t seq = (uint32_t)stream->seq;
	if (strcmp(stream->tenant, "scratch") == 0)
		return 0;
	CHECK(stream->shard < STREAMS && stream->seq < SEQS_MAX);
	struct content expected = content_of(stream->shard, seq);
	struct content found = { 0 };

	for (uint32_t i = 0; i < batch->rows_count; i++) {
		struct node node = dict_get_node(batch->dict, batch->rows[i].node);
		struct frame frame = dict_get_frame(batch->dict, node.frame);
		uint64_t function = strtoull(dict_text(batch->dict, frame.function), NULL, 10);
		found.samples += batch->rows[i].value;
		found.weighed += batch->rows[i].value * function;
	}
	assert_int_equal(batch->start_ns, content_start(stream->shard, seq));
	assert_int_equal(found.samples, expected.samples);
	assert_int_equal(found.weighed, expected.weighed);
	world->seen[stream->shard][seq]++;
	world->batches++;
	world->samples += found.samples;
	return 0;
}

/* Every seq below the highest that was ever tried is sent once more, unchanged. */
static void world_send_again(struct world *world, struct store *store)
{
	struct source source = source_new(store, 1);
	for (uint32_t stream = 0; stream < STREAMS; stream++) {
		uint32_t seq = world->next[stream];
		for (uint32_t back = 0; back < 5 && seq > 0; back++, seq--) {
			bool is_there = world->seen[stream][seq];
			content_fill(&source, stream, seq);
			source.stream.shard = (uint16_t)stream;
			uint32_t status = source_append(&source, store, seq);
			assert_int_equal(status, is_there ? WIRE_DUP : WIRE_OK);
			world->acked[stream][seq] = true;
		}
	}
	source_free(&source);
}

/* What was under way is ended: hidden windows come back, what began to be erased goes. */
struct runs {
	const struct world *world;
	uint64_t ids[64];
	bool are_erasing[64];
	uint32_t count;
};

static int runs_visit(void *owner, const struct store_run_state *state)
{
	struct runs *runs = owner;
	CHECK(runs->count < COUNT_OF(runs->ids));
	for (uint32_t i = 0; i < runs->world->ended_runs_count; i++)
		CHECK((uint32_t)state->run.id != runs->world->ended_runs[i]);
	runs->are_erasing[runs->count] = state->is_erasing;
	runs->ids[runs->count++] = state->run.id;
	return 0;
}

static void world_end_runs(const struct world *world, struct store *store)
{
	struct runs runs = { .world = world };
	struct store_expired expired;
	CHECK_OK(store_runs(store, runs_visit, &runs));
	for (uint32_t i = 0; i < runs.count; i++)
		if (runs.are_erasing[i])
			CHECK_OK(store_erase(store, runs.ids[i], NULL, &expired));
		else
			CHECK_OK(store_undo(store, runs.ids[i], &expired));
}

static int fail_finding(void *owner, const struct store_finding *finding)
{
	if (finding->kind == STORE_FINDING_DAMAGE)
		fail_msg("%s %s %s: %s", (const char *)owner, finding->family, finding->key,
		        finding->reason);
	return 0;
}

static void world_verify(const char *path)
{
	struct store_verify_summary summary;
	struct store_verify_options options = {
		.path = path,
		.found = fail_finding,
		.owner = (void *)path,
	};
	char error[512] = "";
	if (store_verify(&options, &summary, error, sizeof(error)) < 0)
		fail_msg("%s", error);
}

/* Each that is there is whole, and is the store of some moment. */
static int backup_visit(void *owner, const struct backup_manifest *manifest, int result)
{
	struct world *world = owner;
	char folder[400];
	char path[600];
	char error[512] = "";
	snprintf(folder, sizeof(folder), "%s/backups", world->dir->path);
	snprintf(path, sizeof(path), "%s/%s/store", folder, manifest->name);
	struct store_backup_options options = { .folder = folder, .name = manifest->name };
	CHECK_OK(result);
	if (store_backup_verify(options, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	CHECK(manifest->contents.batches <= world->batches + world->scratch_batches);
	world_verify(path);
	world_drop_told(world, (uint32_t)strtoul(manifest->name + 1, NULL, 10));
	CHECK_OK(store_backup_delete(options, error, sizeof(error)));
	world->backups++;
	return 0;
}

/* What was restored is there whole, or not at all; it is taken away, for the next life. */
static void world_check_restored(struct world *world)
{
	char path[400];
	snprintf(path, sizeof(path), "%s/restored", world->dir->path);
	if (access(path, F_OK) < 0) {
		CHECK(!world->is_told_restored);
		return;
	}
	world_verify(path);
	DIR *folder = opendir(path);
	assert_non_null(folder);
	for (struct dirent *entry; (entry = readdir(folder));)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			CHECK_OK(unlinkat(dirfd(folder), entry->d_name, 0));
	closedir(folder);
	CHECK_OK(rmdir(path));
	world->restored++;
}

/* With the store closed. */
static void world_check_folder(struct world *world)
{
	char folder[400];
	snprintf(folder, sizeof(folder), "%s/store", world->dir->path);
	world_verify(folder);
	snprintf(folder, sizeof(folder), "%s/backups", world->dir->path);
	int r = store_backup_list(folder, backup_visit, world);
	CHECK(r == 0 || r == -ENOENT);
	world_check_restored(world);
	/* The list took those away that are there. */
	if (world->told_backups_count > 0)
		fail_msg("the backup b%u was made, and is not there", world->told_backups[0]);
}

static void world_check(struct world *world)
{
	AUTO(store) store = open_store(world->dir->path, life_clock(world->lives));
	struct store_counters counters;

	world_end_runs(world, store);

	memset(world->seen, 0, sizeof(world->seen));
	world->batches = 0;
	world->samples = 0;
	CHECK_OK(store_scan(store, 0, UINT64_MAX, NULL, world_see, world));
	for (uint32_t stream = 0; stream < STREAMS; stream++) {
		world->next[stream] = 1;
		for (uint32_t seq = 1; seq < SEQS_MAX; seq++) {
			uint8_t seen = world->seen[stream][seq];
			if (seen > 1 || (world->acked[stream][seq] && seen != 1))
				fail_msg("stream %u seq %u: there %u times", stream, seq, seen);
			if (seen)
				world->next[stream] = seq + 1;
		}
	}
	CHECK_OK(store_counters(store, "", &counters));
	assert_int_equal(counters.batches, world->batches);
	assert_int_equal(counters.samples, world->samples);
	CHECK_OK(store_counters(store, "scratch", &counters));
	world->scratch_batches = counters.batches;
	/* From days and hours, and from the windows that they were made of. */
	assert_int_equal(
	        store_fixture_value(store, "cpu", LIFE_FIRST_NS, UINT64_MAX), world->samples);
	uint64_t middle_ns = content_start(0, world->next[0] / 2);
	assert_int_equal(store_fixture_value(store, "cpu", LIFE_FIRST_NS, middle_ns) +
	                         store_fixture_value(store, "cpu", middle_ns, UINT64_MAX),
	        world->samples);
	struct store_size size;
	CHECK_OK(store_size(store, &size));
	world->rollups_max = size.rollups > world->rollups_max ? size.rollups : world->rollups_max;
	world_send_again(world, store);
	/* The next life begins behind what was just sent. */
	for (uint32_t stream = 0; stream < STREAMS; stream++)
		world->next[stream]++;
}

struct world_sums {
	struct phases phases;
	uint64_t backups;
	uint64_t restored;
	uint64_t rollups;
	uint64_t kills;
};

/* One store through so many kills: what it has grows, and with it what a check costs. */
static void world_live(const struct world_events *events, void *owner, uint64_t seed,
        uint32_t cycles, struct world_sums *sums)
{
	TEST_DIR(dir);
	struct world *world = calloc(1, sizeof(*world));
	assert_non_null(world);
	world->dir = &dir;
	world->events = events;
	world->owner = owner;
	world->phases = &sums->phases;
	const char *other = getenv("PROFLEET_SEED");
	rng_init(&world->rng, seed + (other ? strtoull(other, NULL, 10) : 0));
	for (uint32_t i = 0; i < STREAMS; i++)
		world->next[i] = 1;

	for (uint32_t cycle = 0; cycle < cycles; cycle++) {
		world_kill(world);
		world_check(world);
		world_check_folder(world);
	}
	print_message("store %" PRIu64 ": %" PRIu64 " batches, %" PRIu64 " samples over %u kills\n",
	        seed, world->batches, world->samples, cycles);
	sums->backups += world->backups;
	sums->restored += world->restored;
	sums->rollups += world->rollups_max;
	sums->kills += cycles;
	free(world);
}

/* The closing line. */
static void phases_print(const struct world_sums *sums, const char *what)
{
	char text[1024];
	size_t count = 0;
	for (uint32_t phase = 0; phase < LIFE_PHASES; phase++)
		count += (size_t)snprintf(text + count, sizeof(text) - count, "%s%s %u",
		        phase ? ", " : "", life_phase_names[phase], sums->phases.kills[phase]);
	print_message("%" PRIu64 " %s; in each phase: %s; %" PRIu64 " backups, %" PRIu64
	              " restored\n",
	        sums->kills, what, text, sums->backups, sums->restored);
}
