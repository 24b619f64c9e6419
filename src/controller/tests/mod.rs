//! The reactor without sockets: single events with their exact effects, then anything at all.

mod attempts;
mod deserted;
mod ends;
mod funcs;
mod kept;
mod kit;
mod model;
mod random;
mod requests;
mod resume;
mod returning;
mod scarce;
mod scheduling;
mod smoke;
mod spent;
mod stored;
mod units;
