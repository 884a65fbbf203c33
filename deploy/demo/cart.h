#pragma once

/*
 * cart is the demo's service: it parses orders, prices them and renders an answer, at a steady rate
 * of requests, until it is told to stop. Two programs are made of it, cart_1_8.c and cart_1_9.c,
 * which differ in their version and in how much work parse_json() does per request:
 * CART_PARSE_PERCENT is 100 in the first and 160 in the second. That is the regression which
 * the first diff in the README finds.
 *
 * Everything is compiled with frame pointers and without inlining, so that a plain frame-pointer
 * walk shows every function. Work is counted in rounds, never in time: its shares are the same on
 * any machine.
 */

#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Rounds of the mixing function per request and part: 30 + 20 + 15 + 25 + 10. */
#define CART_PARSE_ROUNDS  (300 * CART_PARSE_PERCENT / 100)
#define CART_LOOKUP_ROUNDS 200
#define CART_SORT_ROUNDS   150
#define CART_PRICE_ROUNDS  250
#define CART_RENDER_ROUNDS 100
#define CART_ROUND_STEPS   300

static volatile sig_atomic_t cart_stopping;
static uint64_t cart_state = 88172645463325252u;

static void cart_on_signal(int number)
{
	(void)number;
	cart_stopping = 1;
}

/* One round: a fixed number of xorshift steps that the compiler can neither skip nor share. */
#define CART_WORK(rounds)                                                                          \
	do {                                                                                       \
		uint64_t x_ = cart_state;                                                          \
		for (int round_ = 0; round_ < (rounds)*CART_ROUND_STEPS; round_++) {               \
			x_ ^= x_ << 13;                                                            \
			x_ ^= x_ >> 7;                                                             \
			x_ ^= x_ << 17;                                                            \
		}                                                                                  \
		cart_state = x_;                                                                   \
	} while (0)

__attribute__((noinline)) static void parse_json(void)
{
	CART_WORK(CART_PARSE_ROUNDS);
}

__attribute__((noinline)) static void lookup_customer(void)
{
	CART_WORK(CART_LOOKUP_ROUNDS);
}

__attribute__((noinline)) static void sort_items(void)
{
	CART_WORK(CART_SORT_ROUNDS);
}

__attribute__((noinline)) static void price_order(void)
{
	CART_WORK(CART_PRICE_ROUNDS);
}

__attribute__((noinline)) static void render_answer(void)
{
	CART_WORK(CART_RENDER_ROUNDS);
}

__attribute__((noinline)) static void read_request(void)
{
	parse_json();
	lookup_customer();
}

__attribute__((noinline)) static void compute_total(void)
{
	sort_items();
	price_order();
}

__attribute__((noinline)) static void handle_request(void)
{
	read_request();
	compute_total();
	render_answer();
}

/* Sleeps until the next request is due; a late service does not try to catch up. */
static void cart_pace(struct timespec *due, long interval_ns)
{
	due->tv_nsec += interval_ns;
	while (due->tv_nsec >= 1000000000) {
		due->tv_nsec -= 1000000000;
		due->tv_sec++;
	}
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec > due->tv_sec || (now.tv_sec == due->tv_sec && now.tv_nsec > due->tv_nsec))
		*due = now;
	else
		(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, due, NULL);
}

/* usage: cart [REQUESTS_PER_SECOND [REQUESTS]]; without REQUESTS it serves until SIGTERM. */
static int cart_main(int argc, char **argv)
{
	long rate = argc > 1 ? strtol(argv[1], NULL, 10) : 200;
	long long requests = argc > 2 ? strtoll(argv[2], NULL, 10) : -1;
	if (rate < 1 || rate > 100000) {
		fprintf(stderr, "cart: requests per second: 1 to 100000, not %s\n", argv[1]);
		return 2;
	}

	struct sigaction stop = { .sa_handler = cart_on_signal };
	(void)sigaction(SIGTERM, &stop, NULL);
	(void)sigaction(SIGINT, &stop, NULL);

	struct timespec due;
	(void)clock_gettime(CLOCK_MONOTONIC, &due);
	for (long long served = 0; !cart_stopping && served != requests; served++) {
		handle_request();
		cart_pace(&due, 1000000000 / rate);
	}
	printf("cart %s served until %" PRIx64 "\n", CART_VERSION, cart_state);
	return 0;
}
