"""Which languages are near: URIEL, its distances, and a choice by them."""
