/*
 * A thread has every so-manieth agent and goes through the intervals with all of them. The fleet is
 * one for all threads and has a lock, so making reports and giving them ids is done by one thread
 * at a time; packing, sending and waiting is not.
 *
 * Whatever fails, an agent opens a new session and puts the same reports into it under the same
 * ids, as the real one does. For that the reports are kept as the fleet numbers them.
 */

#include "bench/fleet_wire.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bench/fleet_number.h"
#include "core/clock.h"
#include "core/net.h"
#include "profile/wire.h"

#define WIRE_PAUSE_MS     20
#define WIRE_PART_BYTES   (1u << 20)
#define WIRE_UPLOADED_MAX 4096

struct agent {
	struct fleet_wire *wire;
	uint32_t number;
	uint32_t slots_first, slots_end;
	struct wire_uuid uuid;
	struct dict *dict;
	struct dict_mark known;
	struct fleet_observer *observer;
	struct batch **batches; /* one for each service among the slots */
	uint32_t batches_count;
	uint64_t *seqs; /* by shard */
	uint32_t shards;
	uint64_t session, request, samples_sent;
	struct fleet_report *reports; /* of the interval at hand, one for each slot */
	uint32_t *samples;
	uint32_t samples_count, samples_capacity;
};

struct sender {
	struct fleet_wire *wire;
	uint32_t number;
	pthread_t thread;
	struct net_client *client;
	struct wire_section_status *statuses;
	uint32_t *ack_us; /* of each PUSH */
	uint32_t acks_count, acks_capacity;
	uint64_t bytes, rows, samples, pushes, again, sessions;
	int result;
};

struct fleet_wire {
	struct fleet *fleet;
	struct fleet_wire_options options;
	uint64_t epoch;
	struct agent *agents;
	bool is_failed;                       /* atomic: the others need not go on */
	pthread_mutex_t lock;                 /* of the fleet and what it draws */
	uint64_t uploaded[WIRE_UPLOADED_MAX]; /* hashes of build-ids */
	uint32_t uploaded_count;
};

static int wire_complain(const char *what, int result)
{
	fprintf(stderr, "bench.fleet: %s: %s\n", what, strerror(-result));
	return result;
}

static int sender_call(struct sender *sender, enum wire_kind kind, const struct buf *payload,
        struct buf *unpacked, struct wire_message *ret_message)
{
	AUTO_BUF sealed = { 0 };
	autofree uint8_t *reply = NULL;
	size_t count = 0;
	wire_seal(kind, payload, &sealed);
	if (sealed.failed)
		return -EMSGSIZE;
	uint32_t wait_ms = (uint32_t)(sender->wire->options.patience_ns / NS_PER_MS);
	int r = net_call(sender->client, sealed.bytes, sealed.count, wait_ms, &reply, &count);
	if (r < 0)
		return r;
	buf_reset(unpacked);
	sender->bytes += sealed.count;
	return wire_open(reply, count, unpacked, ret_message);
}

static void agent_close(struct agent *agent)
{
	fleet_observer_free(agent->observer);
	agent->observer = NULL;
	for (uint32_t i = 0; i < agent->batches_count; i++) {
		batch_free(agent->batches[i]);
		agent->batches[i] = NULL;
	}
	dict_free(agent->dict);
	agent->dict = NULL;
}

static int agent_open(struct agent *agent, const struct wire_hello_reply *reply)
{
	struct dict_limits limits = dict_limits_default;
	limits.nodes = reply->nodes_max < limits.nodes ? reply->nodes_max : limits.nodes;
	agent->dict = dict_new(limits);
	if (!agent->dict)
		return -ENOMEM;
	agent->known = dict_mark(agent->dict);
	agent->observer = fleet_observer_new(agent->wire->fleet, agent->dict, FLEET_ADDRESSES);
	if (!agent->observer)
		return -ENOMEM;
	for (uint32_t i = 0; i < agent->batches_count; i++) {
		agent->batches[i] = batch_new(agent->dict);
		if (!agent->batches[i])
			return -ENOMEM;
	}
	if (!agent->seqs) {
		agent->shards = reply->shards;
		agent->seqs = calloc(agent->shards, sizeof(*agent->seqs));
	}
	agent->session = reply->session;
	agent->request = 0;
	return !agent->seqs ? -ENOMEM : agent->shards == reply->shards ? 0 : -EPROTO;
}

static int agent_hello(struct agent *agent, struct sender *sender)
{
	char host[32];
	snprintf(host, sizeof(host), "host-%04u", agent->number);
	struct wire_hello hello = {
		.version_min = WIRE_VERSION,
		.version_max = WIRE_VERSION,
		.role = WIRE_ROLE_AGENT,
		.uuid = agent->uuid,
		.epoch = agent->wire->epoch,
		.host = { host, (uint32_t)strlen(host) },
		.program = { "bench.fleet", 11 },
		.tenant = { agent->wire->options.tenant,
		        (uint32_t)strlen(agent->wire->options.tenant) },
	};
	AUTO_BUF payload = { 0 };
	AUTO_BUF unpacked = { 0 };
	struct wire_message message;
	struct wire_hello_reply reply;
	wire_put_hello(&hello, &payload);
	int r = sender_call(sender, WIRE_HELLO, &payload, &unpacked, &message);
	if (r == 0 && message.kind != WIRE_HELLO_REPLY)
		r = -EAGAIN;
	if (r == 0)
		r = wire_get_hello_reply(&message.payload, &reply);
	if (r == 0 && (reply.shards == 0 || reply.shards > WIRE_SHARDS_MAX))
		r = -EPROTO;
	if (r < 0)
		return r;
	sender->sessions++;
	return agent_open(agent, &reply);
}

/* Under the lock: the interval's reports as the fleet numbers them. */
static int agent_collect(struct agent *agent, uint64_t tick)
{
	agent->samples_count = 0;
	for (uint32_t slot = agent->slots_first; slot < agent->slots_end; slot++) {
		struct fleet_report *report = &agent->reports[slot - agent->slots_first];
		int r = fleet_report(agent->wire->fleet, tick, slot, report);
		if (r < 0)
			return r;
		uint32_t needed = agent->samples_count + report->samples_count;
		if (needed > agent->samples_capacity) {
			uint32_t capacity = needed * 2;
			uint32_t *samples = realloc(agent->samples, capacity * sizeof(*samples));
			if (!samples)
				return -ENOMEM;
			agent->samples = samples;
			agent->samples_capacity = capacity;
		}
		memcpy(agent->samples + agent->samples_count, report->samples,
		        report->samples_count * sizeof(*agent->samples));
		agent->samples_count = needed;
	}
	return 0;
}

/* Under the lock: into the session's ids, a batch for each service. */
static int agent_fill(struct agent *agent)
{
	uint32_t at = 0;
	uint32_t service_first = agent->reports[0].instance.service;
	for (uint32_t i = 0; i < agent->batches_count; i++)
		batch_reset(agent->batches[i]);
	for (uint32_t slot = agent->slots_first; slot < agent->slots_end; slot++) {
		struct fleet_report report = agent->reports[slot - agent->slots_first];
		struct batch *batch = agent->batches[report.instance.service - service_first];
		report.samples = agent->samples + at;
		at += report.samples_count;
		int r = fleet_observer_put(agent->observer, &report, batch);
		if (r < 0)
			return r;
	}
	for (uint32_t i = 0; i < agent->batches_count; i++) {
		int r = batch_settle(agent->batches[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static uint16_t agent_shard(const struct agent *agent, uint32_t batch)
{
	char service[32];
	fleet_service_name(agent->reports[0].instance.service + batch, service);
	return wire_shard(agent->wire->options.tenant, service, agent->shards);
}

static void agent_encode(struct agent *agent, struct buf *payload)
{
	struct wire_push push = {
		.session = agent->session,
		.request = agent->request + 1,
		.state = { .hz_milli = 49000,
		        .samples_taken = agent->samples_sent + agent->samples_count,
		        .samples_sent = agent->samples_sent },
		.sections_count = agent->batches_count,
	};
	wire_put_push(&push, agent->dict, agent->known, payload);
	for (uint32_t i = 0; i < agent->batches_count; i++) {
		struct wire_section section = {
			.shard = agent_shard(agent, i),
			.uuid = agent->uuid,
			.epoch = agent->wire->epoch,
		};
		/* Two services may be of one shard. */
		section.seq = agent->seqs[section.shard] + 1;
		for (uint32_t before = 0; before < i; before++)
			section.seq += agent_shard(agent, before) == section.shard;
		wire_put_section(&section, agent->batches[i], payload);
	}
}

static int sender_upload(struct sender *sender, struct wire_text build_id)
{
	struct fleet_wire *wire = sender->wire;
	uint64_t hash = hash64_bytes(build_id.bytes, build_id.count);
	pthread_mutex_lock(&wire->lock);
	bool is_new = wire->uploaded_count < WIRE_UPLOADED_MAX;
	for (uint32_t i = 0; i < wire->uploaded_count && is_new; i++)
		is_new = wire->uploaded[i] != hash;
	if (is_new)
		wire->uploaded[wire->uploaded_count++] = hash;
	pthread_mutex_unlock(&wire->lock);
	if (!is_new)
		return 0;

	AUTO_BUF table = { 0 };
	int r = fleet_symbols(wire->fleet, build_id.bytes, build_id.count, &table);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	uint32_t parts = (uint32_t)((table.count + WIRE_PART_BYTES - 1) / WIRE_PART_BYTES);
	for (uint32_t i = 0; i < parts; i++) {
		size_t first = (size_t)i * WIRE_PART_BYTES;
		size_t left = table.count - first;
		struct wire_symbols symbols = {
			.build_id = build_id,
			.part = i,
			.parts = parts,
			.total_bytes = table.count,
			.bytes = table.bytes + first,
			.count = (uint32_t)(left < WIRE_PART_BYTES ? left : WIRE_PART_BYTES),
		};
		AUTO_BUF payload = { 0 };
		AUTO_BUF unpacked = { 0 };
		struct wire_message message;
		wire_put_symbols(&symbols, &payload);
		r = sender_call(sender, WIRE_SYMBOLS, &payload, &unpacked, &message);
		if (r < 0)
			return r;
	}
	return 0;
}

/* 0: all is durable; what is wanted besides is uploaded. -EAGAIN: in a new session. */
static int agent_read_reply(
        struct agent *agent, struct sender *sender, struct wire_message *message)
{
	struct wire_push_reply reply = { .sections = sender->statuses };
	if (message->kind != WIRE_PUSH_REPLY)
		return -EAGAIN;
	int r = wire_get_push_reply(&message->payload, &reply);
	if (r < 0)
		return r;
	if (reply.status != WIRE_OK || reply.sections_count != agent->batches_count)
		return -EAGAIN;
	for (uint32_t i = 0; i < reply.sections_count; i++) {
		const struct wire_section_status *section = &reply.sections[i];
		if (section->status == WIRE_REJECT) {
			fprintf(stderr, "bench.fleet: rejected: %.*s\n", (int)section->reason.count,
			        section->reason.bytes);
			return -EINVAL;
		}
		if (section->status != WIRE_OK && section->status != WIRE_DUP)
			return -EAGAIN;
	}
	for (uint32_t i = 0; i < reply.wanted_count && r == 0; i++)
		r = sender_upload(sender, reply.wanted[i]);
	return r;
}

static int sender_note_ack(struct sender *sender, uint64_t ns)
{
	if (sender->acks_count == sender->acks_capacity) {
		uint32_t capacity = sender->acks_capacity * 2 + 1024;
		uint32_t *acks = realloc(sender->ack_us, capacity * sizeof(*acks));
		if (!acks)
			return -ENOMEM;
		sender->ack_us = acks;
		sender->acks_capacity = capacity;
	}
	sender->ack_us[sender->acks_count++] = (uint32_t)(ns / 1000);
	return 0;
}

static int agent_try(struct agent *agent, struct sender *sender)
{
	int r = -ENOSPC;
	for (int i = 0; i < 2 && r == -ENOSPC; i++) {
		bool is_new = !agent->dict;
		r = is_new ? agent_hello(agent, sender) : 0;
		if (r < 0)
			return r;
		pthread_mutex_lock(&agent->wire->lock);
		r = agent_fill(agent);
		pthread_mutex_unlock(&agent->wire->lock);
		/* The session's dictionary is full: its successor's is not. */
		if (r == -ENOSPC && !is_new)
			agent_close(agent);
	}
	if (r < 0)
		return r;

	AUTO_BUF payload = { 0 };
	AUTO_BUF unpacked = { 0 };
	struct wire_message message;
	agent_encode(agent, &payload);
	uint64_t before_ns = clock_monotonic_ns(clock_real());
	r = sender_call(sender, WIRE_PUSH, &payload, &unpacked, &message);
	uint64_t ack_ns = clock_monotonic_ns(clock_real()) - before_ns;
	if (r == 0)
		r = agent_read_reply(agent, sender, &message);
	return r < 0 ? r : sender_note_ack(sender, ack_ns);
}

static int agent_push(struct agent *agent, struct sender *sender, uint64_t tick)
{
	pthread_mutex_lock(&agent->wire->lock);
	int r = agent_collect(agent, tick);
	pthread_mutex_unlock(&agent->wire->lock);
	uint64_t end_ns = clock_monotonic_ns(clock_real()) + agent->wire->options.patience_ns;
	while (r == 0 && (r = agent_try(agent, sender)) < 0) {
		agent_close(agent);
		bool again = r == -EAGAIN || r == -ECONNRESET || r == -ETIMEDOUT ||
		             r == -ECONNREFUSED;
		if (!again || clock_monotonic_ns(clock_real()) >= end_ns)
			break;
		sender->again++;
		/* An aggregator that was killed may not have what it was given: it asks again. */
		pthread_mutex_lock(&agent->wire->lock);
		agent->wire->uploaded_count = 0;
		pthread_mutex_unlock(&agent->wire->lock);
		struct timespec pause = { .tv_nsec = WIRE_PAUSE_MS * 1000000L };
		(void)nanosleep(&pause, NULL);
		r = 0;
	}
	if (r < 0)
		return r;
	agent->known = dict_mark(agent->dict);
	agent->request++;
	agent->samples_sent += agent->samples_count;
	sender->samples += agent->samples_count;
	sender->pushes++;
	for (uint32_t i = 0; i < agent->batches_count; i++) {
		agent->seqs[agent_shard(agent, i)]++;
		sender->rows += agent->batches[i]->rows_count;
	}
	return 0;
}

static void *sender_run(void *argument)
{
	struct sender *sender = argument;
	struct fleet_wire *wire = sender->wire;
	for (uint64_t tick = 0; tick < fleet_ticks(wire->fleet); tick++) {
		for (uint32_t i = sender->number; i < wire->options.agents;
		        i += wire->options.threads) {
			if (__atomic_load_n(&wire->is_failed, __ATOMIC_RELAXED))
				return NULL;
			sender->result = agent_push(&wire->agents[i], sender, tick);
			if (sender->result < 0) {
				__atomic_store_n(&wire->is_failed, true, __ATOMIC_RELAXED);
				return NULL;
			}
		}
	}
	return NULL;
}

static int agent_init(struct agent *agent, struct fleet_wire *wire, uint32_t number)
{
	uint32_t slots = fleet_slots(wire->fleet);
	agent->wire = wire;
	agent->number = number;
	agent->slots_first = (uint32_t)((uint64_t)slots * number / wire->options.agents);
	agent->slots_end = (uint32_t)((uint64_t)slots * (number + 1) / wire->options.agents);
	uint64_t id[2] = { fleet_mix(wire->epoch, number), number };
	memcpy(agent->uuid.bytes, id, sizeof(agent->uuid.bytes));
	agent->reports = calloc(agent->slots_end - agent->slots_first, sizeof(*agent->reports));
	if (!agent->reports)
		return -ENOMEM;
	int r = agent_collect(agent, 0);
	if (r < 0)
		return r;
	uint32_t slots_count = agent->slots_end - agent->slots_first;
	agent->batches_count = agent->reports[slots_count - 1].instance.service -
	                       agent->reports[0].instance.service + 1;
	agent->batches = calloc(agent->batches_count, sizeof(struct batch *));
	return agent->batches ? 0 : -ENOMEM;
}

static int acks_compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a;
	uint32_t right = *(const uint32_t *)b;
	return (left > right) - (left < right);
}

static void wire_print(const struct sender *sum, double seconds)
{
	uint32_t median = sum->acks_count / 2;
	uint32_t late = (uint32_t)((uint64_t)sum->acks_count * 99 / 100);
	qsort(sum->ack_us, sum->acks_count, sizeof(*sum->ack_us), acks_compare);
	printf("rows %llu\nsamples %llu\npushes %llu\nseconds %.3f\nrows_per_s %.0f\n",
	        (unsigned long long)sum->rows, (unsigned long long)sum->samples,
	        (unsigned long long)sum->pushes, seconds, (double)sum->rows / seconds);
	printf("ack_ms_p50 %.3f\nack_ms_p99 %.3f\nack_ms_max %.3f\n", sum->ack_us[median] / 1e3,
	        sum->ack_us[late] / 1e3, sum->ack_us[sum->acks_count - 1] / 1e3);
	printf("wire_bytes_per_row %.3f\nsessions %llu\nsent_again %llu\n",
	        (double)sum->bytes / (double)sum->rows, (unsigned long long)sum->sessions,
	        (unsigned long long)sum->again);
}

/* All senders' figures in one. */
static int senders_join(struct sender *senders, uint32_t count, struct sender *sum)
{
	int r = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct sender *sender = &senders[i];
		(void)pthread_join(sender->thread, NULL);
		if (sender->result < 0 && r == 0)
			r = wire_complain(sender->wire->options.address, sender->result);
		for (uint32_t ack = 0; ack < sender->acks_count && r == 0; ack++)
			r = sender_note_ack(sum, sender->ack_us[ack] * UINT64_C(1000));
		sum->rows += sender->rows;
		sum->samples += sender->samples;
		sum->bytes += sender->bytes;
		sum->pushes += sender->pushes;
		sum->again += sender->again;
		sum->sessions += sender->sessions;
		free(sender->ack_us);
		free(sender->statuses);
		net_client_free(sender->client);
	}
	return r;
}

static int sender_start(struct sender *sender, struct fleet_wire *wire, uint32_t number)
{
	sender->wire = wire;
	sender->number = number;
	sender->statuses = calloc(WIRE_SECTIONS_MAX, sizeof(*sender->statuses));
	if (!sender->statuses)
		return -ENOMEM;
	int r = net_client_open(wire->options.address, &sender->client);
	if (r == 0)
		r = -pthread_create(&sender->thread, NULL, sender_run, sender);
	if (r < 0) {
		net_client_free(sender->client);
		free(sender->statuses);
	}
	return r;
}

static int wire_send_all(struct fleet_wire *wire)
{
	uint32_t threads = wire->options.threads;
	struct sender sum = { 0 };
	autofree struct sender *senders = calloc(threads, sizeof(*senders));
	if (!senders)
		return wire_complain("start", -ENOMEM);
	uint64_t before_ns = clock_monotonic_ns(clock_real());
	uint32_t started = 0;
	int r = 0;
	for (; started < threads && r == 0; started++)
		r = sender_start(&senders[started], wire, started);
	/* The last one did not start: the others need not go on. */
	if (r < 0)
		__atomic_store_n(&wire->is_failed, true, __ATOMIC_RELAXED);
	int joined = senders_join(senders, r < 0 ? started - 1 : started, &sum);
	double seconds = (double)(clock_monotonic_ns(clock_real()) - before_ns) / 1e9;
	if (r < 0)
		return wire_complain(wire->options.address, r);
	if (joined == 0 && sum.acks_count)
		wire_print(&sum, seconds);
	free(sum.ack_us);
	return joined;
}

int fleet_wire_run(struct fleet *fleet, struct fleet_wire_options options)
{
	if (options.agents > fleet_slots(fleet))
		options.agents = fleet_slots(fleet);
	if (options.threads > options.agents)
		options.threads = options.agents;
	autofree struct agent *agents = calloc(options.agents, sizeof(*agents));
	struct fleet_wire wire = {
		.fleet = fleet,
		.options = options,
		.epoch = clock_unix_ns(clock_real()),
		.agents = agents,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	int r = agents ? 0 : -ENOMEM;
	for (uint32_t i = 0; i < options.agents && r == 0; i++)
		r = agent_init(&agents[i], &wire, i);
	if (r < 0)
		(void)wire_complain("agents", r);
	else
		r = wire_send_all(&wire);
	for (uint32_t i = 0; agents && i < options.agents; i++) {
		agent_close(&agents[i]);
		free(agents[i].batches);
		free(agents[i].reports);
		free(agents[i].samples);
		free(agents[i].seqs);
	}
	return r < 0;
}
