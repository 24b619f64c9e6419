//! The guards of the message layer, each as a statement about behaviour.

mod books;
mod door;
mod goodbye;
mod kit;
mod links;
mod loans;
mod memory;
mod peers;
mod rules;
mod strangers;
