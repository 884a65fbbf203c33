/*
 * ingest measures the receiving path: rows per second from the network to the acknowledgement, and
 * bytes per row on the wire, with stacks the aggregator knows already.
 *
 *	bench.ingest ADDRESS [SENDERS [BATCHES_PER_SENDER [ROWS_PER_BATCH]]]
 *
 * Each sender is a thread with a session of its own, as an agent is. The first push carries the
 * dictionary and is not counted. Prints one line; bench/run pins both ends and repeats.
 */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/net.h"
#include "core/rng.h"
#include "profile/wire.h"

#define STACKS   5000 /* what a session may hold by default */
#define DEPTH    30
#define SERIES   10
#define CALL_MS  60000
#define START_NS (UINT64_C(1700000000) * NS_PER_S)
#define BATCH_NS (10 * NS_PER_S)

struct sender {
	const char *address;
	uint32_t number;
	uint32_t batches;
	uint32_t rows;
	pthread_t thread;
	struct net_client *client;
	struct dict *dict;
	struct dict_mark known;
	uint32_t *nodes;
	uint32_t series[SERIES];
	uint64_t session;
	uint64_t request;
	uint64_t bytes; /* of counted pushes, packed */
	uint64_t rows_sent;
	uint64_t elapsed_ns;
};

static pthread_barrier_t sender_start;

static void must(int r, const char *what)
{
	if (r < 0) {
		fprintf(stderr, "bench.ingest: %s: %s\n", what, strerror(-r));
		exit(1);
	}
}

static void sender_call(struct sender *sender, enum wire_kind kind, const struct buf *payload,
        struct buf *unpacked, struct wire_message *ret_message)
{
	AUTO_BUF sealed = { 0 };
	wire_seal(kind, payload, &sealed);
	must(sealed.failed ? -EMSGSIZE : 0, "seal");
	autofree uint8_t *reply = NULL;
	size_t count = 0;
	must(net_call(sender->client, sealed.bytes, sealed.count, CALL_MS, &reply, &count), "call");
	buf_reset(unpacked);
	must(wire_open(reply, count, unpacked, ret_message), "reply");
	sender->bytes += sealed.count;
}

static void sender_hello(struct sender *sender)
{
	struct wire_hello hello = { .version_min = 1,
		.version_max = 1,
		.role = WIRE_ROLE_IMPORT,
		.epoch = 1,
		.host = { "bench", 5 },
		.program = { "bench.ingest", 12 } };
	must(rng_os_bytes(&hello.uuid, sizeof(hello.uuid)), "uuid");
	AUTO_BUF payload = { 0 };
	AUTO_BUF unpacked = { 0 };
	struct wire_message message;
	struct wire_hello_reply reply;
	wire_put_hello(&hello, &payload);
	sender_call(sender, WIRE_HELLO, &payload, &unpacked, &message);
	must(message.kind == WIRE_HELLO_REPLY ? 0 : -EPROTO, "hello");
	must(wire_get_hello_reply(&message.payload, &reply), "hello");
	sender->session = reply.session;
}

static uint32_t must_string(struct dict *dict, const char *text)
{
	uint32_t id;
	must(dict_cstring(dict, text, &id), "string");
	return id;
}

/* Call trees with shared trunks: frame i of a stack is one of a few, the more the deeper. */
static void sender_make_dict(struct sender *sender)
{
	struct rng rng;
	rng_init(&rng, 1); /* the same stacks for every sender, as on hosts of one service */
	sender->dict = dict_new(dict_limits_default);
	sender->nodes = calloc(STACKS, sizeof(*sender->nodes));
	must(sender->dict && sender->nodes ? 0 : -ENOMEM, "memory");
	AUTO(dict) fresh = dict_new(dict_limits_default);
	sender->known = dict_mark(fresh);

	struct module module = { .name = must_string(sender->dict, "libbench.so"),
		.build_id = must_string(sender->dict, "0123456789abcdef0123456789abcdef01234567") };
	uint32_t module_id;
	must(dict_module(sender->dict, &module, &module_id), "module");
	for (uint32_t i = 0; i < STACKS; i++) {
		uint32_t node = DICT_NODE_ROOT;
		for (uint32_t depth = 0; depth < DEPTH; depth++) {
			struct frame frame = { .kind = FRAME_NATIVE,
				.module = module_id,
				.address = depth * 65536 +
				           rng_below(&rng, depth < 20 ? 2 : 40) * 64 };
			uint32_t frame_id;
			must(dict_frame(sender->dict, &frame, &frame_id), "frame");
			must(dict_node(sender->dict, node, frame_id, &node), "node");
		}
		sender->nodes[i] = node;
	}
	for (uint32_t i = 0; i < SERIES; i++) {
		char text[32];
		snprintf(text, sizeof(text), "instance-%u-%u", sender->number, i);
		struct series series = { .type = must_string(sender->dict, "cpu"),
			.unit = must_string(sender->dict, "nanoseconds"),
			.period = 20408163 };
		struct label labels[] = {
			{ must_string(sender->dict, "instance"), must_string(sender->dict, text) },
			{ must_string(sender->dict, "service"),
			        must_string(sender->dict, "bench") },
		};
		must(dict_series(sender->dict, &series, labels, 2, &sender->series[i]), "series");
	}
}

static void sender_push(struct sender *sender, struct batch *batch, uint64_t seq)
{
	struct wire_push push = {
		.session = sender->session, .request = ++sender->request, .sections_count = 1
	};
	struct wire_section section = { .epoch = 1, .seq = seq };
	memcpy(section.uuid.bytes, &sender->session, sizeof(sender->session));
	AUTO_BUF payload = { 0 };
	AUTO_BUF unpacked = { 0 };
	struct wire_message message;
	wire_put_push(&push, sender->dict, sender->known, &payload);
	wire_put_section(&section, batch, &payload);
	sender_call(sender, WIRE_PUSH, &payload, &unpacked, &message);

	struct wire_section_status statuses[WIRE_SECTIONS_MAX];
	struct wire_push_reply reply = { .sections = statuses };
	must(message.kind == WIRE_PUSH_REPLY ? 0 : -EPROTO, "push");
	must(wire_get_push_reply(&message.payload, &reply), "push");
	must(reply.status == WIRE_OK && reply.sections_count == 1 && statuses[0].status == WIRE_OK
	                ? 0
	                : -EIO,
	        "the aggregator did not say OK");
	sender->known = dict_mark(sender->dict);
}

static void sender_fill(
        struct sender *sender, struct batch *batch, struct rng *rng, uint32_t number)
{
	batch_reset(batch);
	batch->start_ns = START_NS + number * BATCH_NS;
	batch->duration_ns = BATCH_NS;
	for (uint32_t i = 0; i < sender->rows; i++) {
		/* The product of two draws: a few stacks are hot, most are rare. */
		uint64_t stack = rng_below(rng, STACKS) * rng_below(rng, STACKS) / STACKS;
		must(batch_add_row(batch, sender->series[i % SERIES], sender->nodes[stack],
		             1 + (rng_below(rng, 10) == 0)),
		        "row");
	}
	for (uint32_t i = 0; i < SERIES; i++)
		must(batch_add_coverage(batch, sender->series[i], BATCH_NS), "coverage");
	must(batch_settle(batch), "settle");
}

static void *sender_run(void *argument)
{
	struct sender *sender = argument;
	struct rng rng;
	rng_init(&rng, sender->number + 100);
	sender_make_dict(sender);
	must(net_client_open(sender->address, &sender->client), "open");
	sender_hello(sender);

	/* Batches are made beforehand: only encoding and sending is measured beside the receiver.
	 */
	/* Pointers are meant. NOLINTNEXTLINE(bugprone-sizeof-expression) */
	struct batch **batches = calloc(sender->batches + 1, sizeof(*batches));
	must(batches ? 0 : -ENOMEM, "memory");
	for (uint32_t i = 0; i <= sender->batches; i++) {
		batches[i] = batch_new(sender->dict);
		must(batches[i] ? 0 : -ENOMEM, "memory");
		sender_fill(sender, batches[i], &rng, i);
	}
	sender_push(sender, batches[0], 1);
	sender->bytes = 0;

	(void)pthread_barrier_wait(&sender_start);
	uint64_t before_ns = clock_monotonic_ns(clock_real());
	for (uint32_t i = 1; i <= sender->batches; i++) {
		sender_push(sender, batches[i], i + 1);
		sender->rows_sent += batches[i]->rows_count;
	}
	sender->elapsed_ns = clock_monotonic_ns(clock_real()) - before_ns;
	for (uint32_t i = 0; i <= sender->batches; i++)
		batch_free(batches[i]);
	free(batches);
	return NULL;
}

static uint32_t number_of(char **argv, int argc, int index, uint32_t fallback)
{
	return argc > index ? (uint32_t)strtoul(argv[index], NULL, 10) : fallback;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: bench.ingest ADDRESS [SENDERS [BATCHES [ROWS]]]\n");
		return 2;
	}
	uint32_t senders_count = number_of(argv, argc, 2, 8);
	struct sender *senders = calloc(senders_count, sizeof(*senders));
	must(senders && senders_count ? 0 : -ENOMEM, "senders");
	must(-pthread_barrier_init(&sender_start, NULL, senders_count), "barrier");
	for (uint32_t i = 0; i < senders_count; i++) {
		senders[i] = (struct sender){ .address = argv[1],
			.number = i,
			.batches = number_of(argv, argc, 3, 60),
			.rows = number_of(argv, argc, 4, 20000) };
		must(-pthread_create(&senders[i].thread, NULL, sender_run, &senders[i]), "thread");
	}

	uint64_t rows = 0, bytes = 0, elapsed_ns = 0;
	for (uint32_t i = 0; i < senders_count; i++) {
		(void)pthread_join(senders[i].thread, NULL);
		rows += senders[i].rows_sent;
		bytes += senders[i].bytes;
		if (senders[i].elapsed_ns > elapsed_ns)
			elapsed_ns = senders[i].elapsed_ns;
	}
	printf("rows %lu seconds %.3f rows_per_s %.0f wire_bytes_per_row %.3f\n",
	        (unsigned long)rows, (double)elapsed_ns / 1e9,
	        (double)rows * 1e9 / (double)elapsed_ns, (double)bytes / (double)rows);
	return 0;
}
