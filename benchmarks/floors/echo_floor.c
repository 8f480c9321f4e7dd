/* Echo floor, `echo_floor SESSIONS PERIOD_S COUNT COMMAND...`: COUNT keys typed through SESSIONS PTYs, each with an echoing command.
 *
 * PERIOD_S 0: the next key follows the answer to the last (for one session). Else each session types on its own, one key
 * every 0.5 to 1.5 periods, never a second before the first is back. The Python client (measures/echo.py) does the same.
 * Prints {"p50_s", "p99_s"}: from write to read of the same byte.
 */
#include "pty.h"
#include <poll.h>

enum { MAX_SESSIONS = 256 };

static struct pollfd masters[MAX_SESSIONS];
static pid_t pids[MAX_SESSIONS];
static double due[MAX_SESSIONS], sent[MAX_SESSIONS]; /* sent 0: no key is under way */

static void type_key(int session)
{
    sent[session] = now_s();
    if (write(masters[session].fd, "x", 1) != 1)
        die("write");
}

static double read_answer(int session)
{
    char byte;
    if (read(masters[session].fd, &byte, 1) != 1)
        die("read");
    double seconds = now_s() - sent[session];
    sent[session] = 0;
    return seconds;
}

static double think_time(double period_s)
{
    return period_s * (0.5 + drand48());
}

static void wait_until(double when, int sessions)
{
    double left = when - now_s();
    struct timespec timeout = {0, left > 0 ? (long)(left * 1e9) : 0}; /* a period is far below a second */
    ppoll(masters, sessions, &timeout, NULL);
}

static void type_in_turn(double *seconds, int count)
{
    for (int i = 0; i < count; i++) {
        type_key(0);
        seconds[i] = read_answer(0);
    }
}

static void type_at_leisure(double *seconds, int count, int sessions, double period_s)
{
    int done = 0;
    for (int s = 0; s < sessions; s++)
        due[s] = now_s() + think_time(period_s);
    while (done < count) {
        double next = now_s() + period_s;
        for (int s = 0; s < sessions; s++) {
            if (!sent[s] && due[s] <= now_s())
                type_key(s);
            if (!sent[s] && due[s] < next)
                next = due[s];
        }
        wait_until(next, sessions);
        for (int s = 0; s < sessions && done < count; s++)
            if (sent[s] && masters[s].revents & POLLIN) {
                seconds[done++] = read_answer(s);
                due[s] = now_s() + think_time(period_s);
            }
    }
}

int main(int argc, char **argv)
{
    int sessions = argc >= 5 ? atoi(argv[1]) : 0, count = argc >= 5 ? atoi(argv[3]) : 0;
    double period_s = argc >= 5 ? atof(argv[2]) : 0;
    if (sessions < 1 || sessions > MAX_SESSIONS || count < 1 || period_s < 0 || period_s >= 0.5) {
        fprintf(stderr, "usage: echo_floor SESSIONS(1..%d) PERIOD_S(below 0.5) COUNT COMMAND...\n", MAX_SESSIONS);
        return 2;
    }
    char ready;
    for (int s = 0; s < sessions; s++) {
        masters[s].fd = spawn_on_pty(argv + 4, &pids[s]);
        masters[s].events = POLLIN;
        if (read(masters[s].fd, &ready, 1) != 1)
            die("read");
    }
    double *seconds = calloc(count, sizeof *seconds);
    if (period_s == 0)
        type_in_turn(seconds, count);
    else
        type_at_leisure(seconds, count, sessions, period_s);
    for (int s = 0; s < sessions; s++) {
        close(masters[s].fd); /* hangs up: the child ends */
        waitpid(pids[s], NULL, 0);
    }
    double p50_s = percentile(seconds, count, 0.5);
    printf("{\"p50_s\": %.9f, \"p99_s\": %.9f}\n", p50_s, percentile(seconds, count, 0.99));
    return 0;
}
