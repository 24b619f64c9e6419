//! The guards of the message layer, each as a statement about behaviour.

mod books;
mod castle;
mod door;
mod gatecrashers;
mod goodbye;
mod kit;
mod links;
mod loans;
mod memory;
mod peers;
mod rules;
mod strangers;
