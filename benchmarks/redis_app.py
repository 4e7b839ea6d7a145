"""The reference for the store over HTTP: FastAPI with Redis behind it, as most teams would write it today.

Run by `uvicorn benchmarks.redis_app:app`; REDIS_PORT says where Redis listens on loopback.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from redis.asyncio import Redis


class Line(BaseModel):
    """One line of a cart."""

    sku: str
    quantity: int
    price_cents: int


class Cart(BaseModel):
    """What is stored."""

    customer: str
    currency: str
    lines: list[Line]


class Written(BaseModel):
    """The answer to a PUT."""

    key: str
    data: bool


class Read(BaseModel):
    """The answer to a GET."""

    key: str
    data: Cart


redis = Redis(host="127.0.0.1", port=int(os.environ.get("REDIS_PORT", "6379")))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Let go of the connections at the end."""
    yield
    await redis.aclose()


app = FastAPI(lifespan=lifespan)


@app.put("/api/store/{key}")
async def put(key: str, cart: Cart) -> Written:
    """Keep a cart."""
    await redis.set(key, cart.model_dump_json())
    return Written(key=key, data=True)


@app.get("/api/store/{key}")
async def get(key: str) -> Read:
    """Read a cart."""
    text = await redis.get(key)
    if text is None:
        raise HTTPException(404, "not found")
    return Read(key=key, data=Cart.model_validate_json(text))
