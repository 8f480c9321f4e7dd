/* The program that every server and every floor runs: `child write BYTES [CPU]` or `child echo [CPU]`.
 *
 * write: letters in 64 KiB blocks, then exit at once. Letters only, so that no dialect has to escape a byte.
 * echo: says one 'r' when its terminal is raw, then gives back each read until its input ends; also the idle session.
 * CPU: where to stay; without it, where the scheduler likes.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { BLOCK_BYTES = 65536, LONGEST_LIFE_S = 600 };

static void make_terminal_raw(void)
{
    struct termios settings;
    if (tcgetattr(0, &settings))
        return; /* pipes have nothing to set */
    cfmakeraw(&settings);
    tcsetattr(0, TCSANOW, &settings);
}

static void stay_on(int cpu)
{
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(cpu, &only);
    if (sched_setaffinity(0, sizeof only, &only))
        perror("sched_setaffinity");
}

static int write_all(const char *bytes, size_t count)
{
    while (count) {
        ssize_t written = write(1, bytes, count);
        if (written < 0)
            return 1; /* whoever read us has gone */
        bytes += written;
        count -= written;
    }
    return 0;
}

static int write_letters(long long count)
{
    static char block[BLOCK_BYTES];
    for (int i = 0; i < BLOCK_BYTES; i++)
        block[i] = 'a' + i % 26;
    while (count > 0) {
        size_t size = count < BLOCK_BYTES ? count : BLOCK_BYTES;
        if (write_all(block, size))
            return 1;
        count -= size;
    }
    return 0;
}

static int echo(void)
{
    char bytes[4096];
    ssize_t count;
    if (write_all("r", 1))
        return 1;
    while ((count = read(0, bytes, sizeof bytes)) > 0)
        if (write_all(bytes, count))
            return 1;
    return 0;
}

int main(int argc, char **argv)
{
    alarm(LONGEST_LIFE_S); /* a server that dies must not leave us behind for ever */
    make_terminal_raw();
    int is_write = argc >= 3 && strcmp(argv[1], "write") == 0, is_echo = argc >= 2 && strcmp(argv[1], "echo") == 0;
    int cpu_argument = is_write ? 3 : 2;
    if (!is_write && !is_echo) {
        fprintf(stderr, "usage: child write BYTES [CPU] | child echo [CPU]\n");
        return 2;
    }
    if (argc > cpu_argument)
        stay_on(atoi(argv[cpu_argument]));
    return is_write ? write_letters(atoll(argv[2])) : echo();
}
