/**
 * What a person reads: how a session ended, was refused or was lost, in plain sentences. Pure.
 *
 * Law: everything here is put on the page as text, never as markup.
 */

/** Why a server did not open a terminal, by error code; what a person can do about it. */
const REFUSALS = {
  denied: "The link to this terminal is not valid (any more). Such links often work only once, and only for a short time. Go back to where you got it and ask for a new one.",
  token_missing: "The address of this page carries no token. Open it with the whole link that you were given.",
  token_malformed: "The token in the link cannot be read. Open this page with the whole link that you were given.",
  token_too_long: "The token in the link is longer than the server accepts.",
  right_missing: "This link does not allow to open a terminal. Go back to where you got it and ask for one that does.",
  command_denied: "This server does not run that command, or not there or not as that user (its settings allow_commands, allow_cwds and allow_users say what it runs). Tell whoever runs this server.",
  gate_unavailable: "The server cannot check links at the moment. Try again in a moment; if that does not help, tell whoever runs this server.",
  too_many_handshakes: "Too many terminals were opened from your network in a short time. Try again in a moment.",
  controller_unreachable: "The application that decides what may run here could not be reached. Try again in a moment; if that does not help, tell whoever runs this server.",
  controller_busy: "The application that decides what may run here has too much to do. Try again in a moment.",
  controller_timeout: "The application that decides what may run here did not answer in time. Try again in a moment.",
  spawn_cwd: "The command was allowed, but its working directory cannot be used. Tell whoever runs this server.",
  spawn_failed: "The command was allowed, but it could not be started. Tell whoever runs this server.",
  spawn_user: "The command was allowed, but not as the user that it should run as. Tell whoever runs this server.",
  spawn_limits: "The command was allowed, but it cannot be held to its limits here. Tell whoever runs this server.",
  no_resources: "The server has no room for another terminal at the moment. Try again in a moment.",
  too_many_sessions: "All terminals of this server are in use. Try again in a moment.",
  too_many_sessions_user: "You have as many terminals open as this server allows you, or your network has. End one of them, then try again.",
  draining: "The server is being restarted. Try again in a moment.",
  host_denied: "The server does not answer under this host name (its setting allow_hosts names those it does).",
  origin_denied: "The server does not accept terminals of this page (its setting allow_origins names those it does).",
  not_found: "There is no terminal server at this address.",
};
const CONTROLLER_ERROR =
  "The application that decides what may run here gave an answer that could not be used. Tell whoever runs this server; its log has the reason.";

const CLOSE_ABNORMAL = 1006;

/** Why a server ended a session that was running, by error code. */
const ENDINGS = {
  idle_timeout: "It was ended because nothing had been typed or printed for too long.",
  lifetime_exceeded: "It was ended because its time was up.",
  output_exceeded: "It was ended because it printed more than it may.",
  draining: "It was ended because the server is shutting down.",
  internal_error: "It was ended by an error in the server.",
  too_many_errors: "It was ended because this page sent messages that the server does not know.",
};

/** Why something that the person did had no effect, by error code; of other codes nothing is shown. */
const COMPLAINTS = {
  read_only: "That was not sent: you may look at this terminal, not type.",
  right_missing: "That was not sent: you may not send this signal to the command.",
  signal_denied: "That was not sent: the command runs as another user, who does not take signals from here.",
};

/** Signals that a person may have heard of; the others keep their name. */
const SIGNALS = {
  HUP: "it was hung up",
  INT: "it was interrupted",
  KILL: "it was killed",
  SEGV: "it crashed",
  ABRT: "it aborted",
  TERM: "it was asked to stop",
};

/**
 * @param {import("./connection.js").Outcome} outcome
 * @param {string} pageOrigin the page's own origin, for those who must allow it
 * @returns {{heading: string, text: string, again: string, isGood: boolean}} `again`: what the button says; `isGood`: the command
 *   succeeded
 */
export function describeOutcome(outcome, pageOrigin) {
  switch (outcome.state) {
    case "ended":
      return { ...describeEnd(outcome), again: "Start again", isGood: outcome.exitCode === 0 };
    case "refused":
      return { ...describeRefusal(outcome, pageOrigin), again: "Try again", isGood: false };
    default:
      return { ...describeLoss(outcome), again: "Start again", isGood: false };
  }
}

/** What to tell a person of a complaint while the session lives on; "" for nothing. */
export function describeComplaint(code) {
  return Object.hasOwn(COMPLAINTS, code) ? COMPLAINTS[code] : "";
}

function describeEnd({ exitCode, signal, durationS, missing, code }) {
  const sentences = [`It ran for ${describeDuration(durationS)}.`];
  // When the server had a reason, the signal was only its means.
  if (Object.hasOwn(ENDINGS, code)) sentences.unshift(ENDINGS[code]);
  else if (signal !== null && SIGNALS[signal]) sentences.unshift(`That means ${SIGNALS[signal]}.`);
  if (missing !== 0) sentences.push(`${missing} bytes of its output are missing.`);
  return { heading: describeExit(exitCode, signal), text: sentences.join(" ") };
}

function describeExit(exitCode, signal) {
  if (signal !== null) return `The command was ended by the signal ${signal}`;
  if (exitCode === 0) return "The command has finished";
  return `The command ended with exit code ${exitCode}`;
}

function describeRefusal({ problem, reachable }, pageOrigin) {
  if (problem !== null) {
    const known = problem.code.startsWith("controller_") ? CONTROLLER_ERROR : "";
    const advice = Object.hasOwn(REFUSALS, problem.code) ? REFUSALS[problem.code] : known;
    const text = [advice, problem.detail].filter((part) => part !== "").join(" ");
    return { heading: problem.title || `The server answered ${problem.status}`, text };
  }
  if (reachable) {
    return { heading: "The terminal did not open", text: "The server is there, but the connection failed. Try again in a moment; if that does not help, a proxy in between may not let websockets through." };
  }
  return {
    heading: "The server cannot be reached",
    text: `Either it is not running, or the network is down, or it does not accept pages of ${pageOrigin} (its setting allow_origins), or this page's Content-Security-Policy keeps it away (connect-src).`,
  };
}

function describeLoss({ code, message, closeCode }) {
  // A line that breaks has no reason: what the server said last was about something else.
  const isReason = code === null || closeCode !== CLOSE_ABNORMAL;
  const reason = isReason && (Object.hasOwn(ENDINGS, code) ? ENDINGS[code] : message && `Reason: ${message}.`);
  const tail = "What the command does now cannot be seen from here.";
  return { heading: "The connection was lost", text: [reason || `No reason was given (close code ${closeCode}).`, tail].join(" ") };
}

/** A duration for a person: "0.4 seconds", "12 seconds", "3 min 5 s", "2 h 10 min". */
export function describeDuration(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(1)} seconds`;
  if (seconds < 59.5) return `${Math.round(seconds)} seconds`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/**
 * A title that a program or a server gave, safe to show: one line, no control or direction-changing characters.
 * @param {string} title
 * @param {number} lengthMax in characters
 */
export function cleanTitle(title, lengthMax = 80) {
  const visible = title.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, " ").replace(/\s+/g, " ").trim();
  const characters = Array.from(visible);
  return characters.length <= lengthMax ? visible : `${characters.slice(0, lengthMax - 1).join("")}…`;
}
